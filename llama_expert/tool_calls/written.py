"""Tool calls as models write them in JSON, read as what they are meant to be."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: Keys that a call may have. A JSON object with any other is an answer that happens to be JSON.
NAME_KEYS = ("name", "tool", "tool_name", "function")
ARGUMENT_KEYS = ("arguments", "parameters", "args")
WRAPPER_KEYS = ("tool_calls", "tool_call", "function_call", "function")
CALL_KEYS = frozenset((*NAME_KEYS, *ARGUMENT_KEYS, *WRAPPER_KEYS, "type", "id", "index"))


@dataclass(frozen=True)
class Call:
    """One call: a tool that was offered, and its arguments as a JSON object in text."""

    name: str
    arguments: str


class _NotACall(Exception):
    """The JSON is something else."""


def calls_in(text: str, names: Collection[str]) -> tuple[Call, ...]:
    """The calls that the JSON `text` is; none when it is no JSON, or a part is no call of `names`."""
    try:
        return tuple(_calls(parse(text), names))
    except (ValueError, RecursionError, _NotACall):
        return ()


def parse(text: str) -> Any:
    """The JSON that a model wrote, line breaks inside of strings allowed.

    Raises ValueError or RecursionError when it is none.
    """
    return json.loads(text, strict=False, parse_constant=_refuse)


def call_of(name: str, arguments: Mapping[str, Any]) -> Call:
    """A call with `arguments` written as JSON in ASCII, which no half of a surrogate pair can break."""
    return Call(name, json.dumps(arguments))


def same_form(arguments: str) -> str:
    """`arguments` written as `call_of` writes them, so that they can be compared; unchanged when no JSON."""
    try:
        return json.dumps(parse(arguments or "{}"))
    except (ValueError, RecursionError):
        return arguments


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _calls(value: Any, names: Collection[str]) -> Iterator[Call]:
    if isinstance(value, list):
        for one in value:
            yield from _calls(one, names)
        return
    if not isinstance(value, dict) or not value.keys() <= CALL_KEYS:
        raise _NotACall
    for key in WRAPPER_KEYS:
        if isinstance(value.get(key), dict | list):
            yield from _calls(value[key], names)
            return
    named = [value[key] for key in NAME_KEYS if key in value]
    if len(named) != 1 or not isinstance(named[0], str) or named[0] not in names:
        raise _NotACall
    given = [value[key] for key in ARGUMENT_KEYS if key in value]
    if len(given) > 1:
        raise _NotACall
    yield call_of(named[0], _arguments(given[0] if given else None))


def _arguments(value: Any) -> dict[str, Any]:
    if isinstance(value, str) and value.strip():
        value = parse(value)
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise _NotACall
    return value
