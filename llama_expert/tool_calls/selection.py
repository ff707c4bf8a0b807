"""Which of many tools a decision is made about: the prompt must fit the model's context."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from llama_expert.tool_calls.offered import OfferedTool

#: Characters of tool descriptions for each token of context: the tools take about half of the context, at
#: three characters a token, which is few for names and JSON.
CHARACTERS_PER_TOKEN_OF_CONTEXT = 1.5
MAX_DESCRIPTION = 160  #: characters; a small model is confused by more

_WORD = re.compile(r"[^\W_]{3,}")


def tool_line(tool: OfferedTool) -> str:
    """One line about `tool`: its name, what it takes and what it does."""
    required = tool.arguments.get("required")
    needed = required if isinstance(required, list) else []
    given = properties(tool.arguments)
    parts = [f"{name}{'' if name in needed else '?'}: {_type(schema)}" for name, schema in given.items()]
    said = " ".join((tool.description or "").split())
    return f"- {tool.name}({', '.join(parts)}): {said[:MAX_DESCRIPTION]}"


def properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The properties that a JSON schema of an object names."""
    found = schema.get("properties")
    return found if isinstance(found, Mapping) else {}


def tools_that_fit(tools: Sequence[OfferedTool], text: str, context: int) -> tuple[OfferedTool, ...]:
    """`tools`, or, where they are too many for a `context` of so many tokens, those most like `text`.

    Their order stays, so that the prompt of the same tools stays the same.
    """
    room = context * CHARACTERS_PER_TOKEN_OF_CONTEXT
    wanted = _words(text)
    by_likeness = sorted(
        range(len(tools)), key=lambda index: (-len(wanted & _words(tool_line(tools[index]))), index)
    )
    chosen: list[int] = []
    for index in by_likeness:
        room -= len(tool_line(tools[index])) + 1
        if room < 0 and chosen:
            break
        chosen.append(index)
    return tuple(tools[index] for index in sorted(chosen))


def _words(text: str) -> set[str]:
    # The first letters are enough to see that "lights" are about a light.
    return {word.lower()[:5] for word in _WORD.findall(text)}


def _type(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return "any"
    if isinstance(schema.get("enum"), list):
        return "|".join(json.dumps(value) for value in schema["enum"])
    kind = schema.get("type", "any")
    return "|".join(map(str, kind)) if isinstance(kind, list) else str(kind)
