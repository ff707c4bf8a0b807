"""The JSON schema of a tool's arguments: as a grammar holds a model to it, and whether arguments fit it."""

from collections.abc import Mapping, Sequence
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import UnknownType, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

MAX_DEPTH = 16  #: of schemas within schemas; what lies deeper may be anything
#: A grammar repeats a rule so often and no more (llama.cpp refuses repetitions beyond 2000).
MAX_REPEATS = 200

#: Keywords that are kept. Left out is what a grammar cannot hold to or costs time without bound (`pattern`).
_PLAIN = ("type", "enum", "const", "required", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_REPEATS = ("minLength", "maxLength", "minItems", "maxItems")
_ONE = ("items", "additionalProperties")
_MANY = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "$defs", "definitions")


def plain_schema(schema: Any, place: str, *, depth: int = 0) -> Any:
    """What is kept of `schema`, whose own references (`#/…`) are made to start from `place`, a JSON pointer.

    Anything that is no schema, lies too deep or refers elsewhere becomes `{}`, which allows everything.
    """
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return {}
    reference = schema.get("$ref")
    if reference is not None:
        local = isinstance(reference, str) and reference.startswith("#")
        return {"$ref": f"#{place}{reference[1:]}"} if local else {}

    def plain(part: Any) -> Any:
        return plain_schema(part, place, depth=depth + 1)

    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _PLAIN or (key in _REPEATS and isinstance(value, int) and value <= MAX_REPEATS):
            kept[key] = value
        elif key in _ONE:
            kept[key] = plain(value)
        elif key in _MANY and isinstance(value, Sequence):
            kept[key] = [plain(part) for part in value]
        elif key in _NAMED and isinstance(value, Mapping):
            kept[key] = {name: plain(part) for name, part in value.items()}
    return kept


def misfit(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> str | None:
    """Why `arguments` do not fit the JSON `schema` of a tool, in a sentence; None when they do.

    Nothing is fetched. Raises ValueError when it is the schema that makes no sense.
    """
    validator = Draft202012Validator(plain_schema(schema, ""), registry=Registry())
    try:
        error = best_match(validator.iter_errors(arguments))
    except (UnknownType, Unresolvable, RecursionError, TypeError) as wrong:
        raise ValueError(
            f"the JSON schema of its parameters cannot be used: {type(wrong).__name__}"
        ) from wrong
    if error is None:
        return None
    where = ".".join(str(part) for part in error.absolute_path)
    return f"{where}: {error.message}" if where else error.message
