"""The model behind the main expert at this moment: what it can be asked to do."""

from collections.abc import Sequence
from dataclasses import dataclass

from clusterkit.ports.registry import Instance, Registry


@dataclass(frozen=True)
class MainModel:
    """What the registry tells about the main expert; nothing known while it is away."""

    name: str = ""
    built_in: bool = False  #: it came with Hearth, for want of a better one
    tools: bool = False  #: it is good enough to be offered tools
    context: int | None = None  #: tokens


def main_model(instances: Sequence[Instance], service: str) -> MainModel:
    """The healthy main expert among `instances`; `service` is its name."""
    expert = next((one for one in instances if one.service == service and one.healthy), None)
    if expert is None:
        return MainModel()
    context = expert.meta.get("context", "")
    return MainModel(
        name=expert.meta.get("model", ""),
        built_in=expert.meta.get("built_in") == "true",
        tools=expert.meta.get("tools", "none") != "none",
        context=int(context) if context.isdigit() else None,
    )


async def look_up_main_model(registry: Registry, service: str) -> MainModel:
    """The main model of now. Raises what the registry raises."""
    return main_model(await registry.instances(service), service)
