"""The filters and functions that expressions may use: fixed, pure, and bounded in what they produce."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipecatapp.workflow.types import kind, number_text

MAX_TEXT = 1_000_000  #: characters in any text an expression makes
MAX_ITEMS = 100_000  #: items in any list an expression makes

#: From harmless to worst. `max_or` follows this order, never the alphabet.
RISK_ORDER = ("none", "read", "keep", "write", "host", "irreversible")


class EvaluationError(Exception):
    """An operation cannot be done on these values. `Template` turns it into an `ExpressionError`."""


@dataclass(frozen=True)
class Function:
    """A filter or function: what it does, how many arguments it takes, the wire type of its result."""

    call: Callable[..., Any]
    least: int
    most: int
    result: str


def bounded(value: Any) -> Any:
    """`value`, unless it is longer than a result may be. Raises `EvaluationError`."""
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise EvaluationError(f"the text would have {len(value)} characters; at most {MAX_TEXT} are allowed")
    if isinstance(value, list) and len(value) > MAX_ITEMS:
        raise EvaluationError(f"the list would have {len(value)} items; at most {MAX_ITEMS} are allowed")
    return value


def to_json(value: Any) -> str:
    """Compact JSON. Raises `EvaluationError` when it grows too long or `value` is not plain data."""
    pieces: list[str] = []
    length = 0
    try:
        # Piece by piece: a small value that shares its parts can unfold into an enormous text.
        for piece in json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).iterencode(value):
            pieces.append(piece)
            length += len(piece)
            if length > MAX_TEXT:
                raise EvaluationError(f"the JSON would have more than {MAX_TEXT} characters")
    except (TypeError, ValueError, RecursionError) as error:
        raise EvaluationError(f"cannot be written as JSON: {error}") from error
    return "".join(pieces)


def to_text(value: Any) -> str:
    """How a value reads inside a text. Raises `EvaluationError` for null: a gap must not go unnoticed."""
    if value is None:
        raise EvaluationError("null cannot stand in a text; add `| default('…')`")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number_text(value)
    return bounded(value) if isinstance(value, str) else to_json(value)


def look_up(value: Any, key: Any) -> Any:
    """`value[key]` or `value.key`, on plain data only: there is no way to a Python attribute."""
    if isinstance(value, Mapping):
        if isinstance(key, str) and key in value:
            return value[key]
        keys = ", ".join(sorted(str(name) for name in value)[:20]) or "none"
        raise EvaluationError(f"there is no {key!r} (known: {keys})")
    if isinstance(value, list | str) and isinstance(key, int) and not isinstance(key, bool):
        try:
            return value[key]
        except IndexError:
            raise EvaluationError(f"there is no item {key}; the {kind(value)} has {len(value)}") from None
    raise EvaluationError(f"{kind(value)} has no {key!r}")


def _length(value: Any) -> int:
    return len(_sized(value))


def _sized(value: Any) -> Any:
    if not isinstance(value, str | list | dict):
        raise EvaluationError(f"expected text, list or object, found {kind(value)}")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise EvaluationError(f"expected a list, found {kind(value)}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise EvaluationError(f"expected text, found {kind(value)}")
    return value


def _join(value: Any, separator: Any = "") -> str:
    items = [to_text(item) for item in _list(value)]
    gap = _text(separator)
    if sum(map(len, items)) + len(gap) * len(items) > MAX_TEXT:
        raise EvaluationError(f"the joined text would have more than {MAX_TEXT} characters")
    return gap.join(items)


def _map_attr(value: Any, name: Any) -> list[Any]:
    return [look_up(item, _text(name)) for item in _list(value)]


def _max_or(value: Any, fallback: Any) -> Any:
    items = _list(value)
    if not items:
        return fallback
    if all(isinstance(item, int | float) for item in items):
        return max(items)
    if all(isinstance(item, str) and item in RISK_ORDER for item in items):
        return max(items, key=RISK_ORDER.index)
    raise EvaluationError(f"max_or compares numbers, or risks ({', '.join(RISK_ORDER)})")


def _first(value: Any) -> Any:
    return look_up(_sequence(value), 0)


def _last(value: Any) -> Any:
    return look_up(_sequence(value), -1)


def _sequence(value: Any) -> Any:
    if not isinstance(value, str | list):
        raise EvaluationError(f"expected text or list, found {kind(value)}")
    return value


def _default(value: Any, fallback: Any) -> Any:
    return fallback if value is None else value


def _message(role: str) -> Callable[[Any], dict[str, Any]]:
    return lambda text: {"role": role, "content": to_text(text)}


def _tool_result(call_id: Any, text: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": _text(call_id), "content": to_text(text)}


FILTERS: Mapping[str, Function] = {
    "default": Function(_default, 1, 1, "any"),
    "first": Function(_first, 0, 0, "any"),
    "join": Function(_join, 0, 1, "text"),
    "json": Function(to_json, 0, 0, "text"),
    "last": Function(_last, 0, 0, "any"),
    "length": Function(_length, 0, 0, "number"),
    "lower": Function(lambda value: _text(value).lower(), 0, 0, "text"),
    "map_attr": Function(_map_attr, 1, 1, "list[any]"),
    "max_or": Function(_max_or, 1, 1, "any"),
    "text": Function(to_text, 0, 0, "text"),
    "trim": Function(lambda value: _text(value).strip(), 0, 0, "text"),
    "upper": Function(lambda value: _text(value).upper(), 0, 0, "text"),
}

FUNCTIONS: Mapping[str, Function] = {
    "assistant": Function(_message("assistant"), 1, 1, "message"),
    "system": Function(_message("system"), 1, 1, "message"),
    "tool_result": Function(_tool_result, 2, 2, "message"),
    "user": Function(_message("user"), 1, 1, "message"),
}
