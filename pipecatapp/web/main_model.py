"""The model behind the main expert at this moment: what it can be asked to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clusterkit.ports.registry import Instance, Registry

#: Characters of the conversation so far per token of the model's context. English takes about four
#: characters a token; half of the context is left for the question, the tools and the answer.
CHARACTERS_PER_TOKEN_OF_CONTEXT = 1.5


@dataclass(frozen=True)
class MainModel:
    """What the registry tells about the main expert; nothing known while it is away."""

    name: str = ""
    built_in: bool = False  #: it came with Hearth, for want of a better one
    tools: bool = False  #: it is good enough to be offered tools
    context: int | None = None  #: tokens


def main_model(instances: Sequence[Instance], service: str) -> MainModel:
    """The healthy main expert among `instances`; `service` is its name."""
    found = next((one for one in instances if one.service == service and one.healthy), None)
    if found is None:
        return MainModel()
    told = found.meta
    context = told.get("context", "")
    return MainModel(
        name=told.get("model", ""),
        built_in=told.get("built_in") == "true",
        tools=told.get("tools") == "true",
        context=int(context) if context.isdigit() else None,
    )


async def look_up_main_model(registry: Registry, service: str) -> MainModel:
    """The main model of now. Raises what the registry raises."""
    return main_model(await registry.instances(service), service)


def recent(history: Sequence[dict[str, Any]], context: int | None) -> list[dict[str, Any]]:
    """The latest part of a conversation that fits a context of so many tokens; all of it when unknown."""
    if context is None:
        return list(history)
    room = context * CHARACTERS_PER_TOKEN_OF_CONTEXT
    kept: list[dict[str, Any]] = []
    for message in reversed(history):
        room -= len(message["content"])
        if room < 0:
            break
        kept.append(message)
    kept.reverse()
    # An answer without its question would confuse the model more than its absence.
    while kept and kept[0]["role"] == "assistant":
        kept.pop(0)
    return kept
