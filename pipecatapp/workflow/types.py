"""Wire types: what may flow from one port into another.

One function, `compatible`, decides for the loader, the editor and a drag of the mouse; one function,
`convert`, carries out the few conversions that it allows.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

SCALARS = ("text", "number", "bool", "object", "message", "tool_call", "audio", "image", "file", "any")

#: Other names for the same type.
ALIASES = {"messages": "list[message]", "list": "list[any]"}

#: A value of the left type is also a value of the right one.
WIDENINGS = {("message", "object"), ("tool_call", "object")}

#: A value of the left type can be turned into one of the right type without a guess.
CONVERSIONS = {("number", "text"), ("message", "text")}

_GENERIC = re.compile(r"(list|stream)\[(.+)\]")


def parse(name: str) -> str:
    """The canonical spelling of a wire type. Raises `ValueError` naming the known types."""
    name = name.strip()
    name = ALIASES.get(name, name)
    if name in SCALARS:
        return name
    match = _GENERIC.fullmatch(name)
    if match is None:
        names = ", ".join((*SCALARS, *ALIASES, "list[T]", "stream[T]"))
        raise ValueError(f"unknown type {name!r} (known: {names})")
    return f"{match[1]}[{parse(match[2])}]"


def element(wire: str) -> str:
    """The type of what a list holds; `any` when that is not known."""
    match = _GENERIC.fullmatch(settled(wire))
    return match[2] if match and match[1] == "list" else "any"


def settled(wire: str) -> str:
    """The type of the final value: that of a stream without the stream."""
    match = _GENERIC.fullmatch(wire)
    return match[2] if match and match[1] == "stream" else wire


def compatible(source: str, target: str) -> bool:
    """Whether a value of wire type `source` may flow into a port of wire type `target`.

    Both must be canonical (see `parse`). A stream flows where its final value does, and a value
    into a stream as a single chunk.
    """
    source, target = settled(source), settled(target)
    return _same(source, target) or (source, target) in CONVERSIONS


def _same(source: str, target: str) -> bool:
    if "any" in (source, target) or source == target or (source, target) in WIDENINGS:
        return True
    lists = source.startswith("list[") and target.startswith("list[")
    return lists and _same(element(source), element(target))


def convert(value: Any, target: str) -> Any:
    """Turn `value` into what a port of type `target` takes, by the conversions of `CONVERSIONS` alone."""
    if settled(target) != "text":
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number_text(value)
    if isinstance(value, dict) and "role" in value and isinstance(value.get("content"), str):
        return value["content"]
    return value


def number_text(value: int | float) -> str:
    """A number as a person writes it: 2.0 is `2`."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def problem(value: Any, wire: str) -> str | None:
    """What keeps `value` from being of type `wire`, or None when it is one."""
    wire = settled(wire)
    if wire in ("any", "audio", "image", "file"):
        return None
    if wire.startswith("list["):
        return _list_problem(value, wire)
    ok = {
        "text": lambda: isinstance(value, str),
        "number": lambda: isinstance(value, int | float) and not isinstance(value, bool) and _finite(value),
        "bool": lambda: isinstance(value, bool),
        "object": lambda: isinstance(value, Mapping),
        "message": lambda: isinstance(value, Mapping) and isinstance(value.get("role"), str),
        "tool_call": lambda: isinstance(value, Mapping) and isinstance(value.get("name"), str),
    }[wire]()
    return None if ok else f"expected {wire}, found {kind(value)}"


def _list_problem(value: Any, wire: str) -> str | None:
    if not isinstance(value, list):
        return f"expected {wire}, found {kind(value)}"
    inner = element(wire)
    for index, item in enumerate(value):
        if wrong := problem(item, inner):
            return f"item {index}: {wrong}"
    return None


def _finite(value: int | float) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def kind(value: Any) -> str:
    """The wire type of a plain value, for messages to people: `null`, `text`, `list` and so on."""
    if value is None:
        return "null"
    names = (
        (bool, "bool"),
        (int, "number"),
        (float, "number"),
        (str, "text"),
        (list, "list"),
        (dict, "object"),
    )
    return next((name for plain, name in names if isinstance(value, plain)), type(value).__name__)
