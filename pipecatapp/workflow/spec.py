"""What the loader must know about a node type: its configuration, its ports, its place in the graph."""

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipecatapp.workflow.types import parse

ConfigModel: TypeAlias = type[BaseModel]

#: Where in a configuration something stands; `*` is any key.
Pattern = tuple[str, ...]


@dataclass(frozen=True)
class Wire:
    """Says the wire type of a configuration field, as in `Annotated[list[dict], Wire("messages")]`."""

    name: str


@dataclass(frozen=True)
class BlockSpec:
    """What makes a node type a block: nodes under `do`, with a scope of their own."""

    #: (configuration, type of a compiled value) -> the names the body sees and their wire types
    variables: Callable[[Mapping[str, Any], Callable[[Any], str]], Mapping[str, str]]
    collects: bool  #: each output is the list of what every round made


@dataclass(frozen=True)
class NodeSpec:
    """One node type as the loader sees it."""

    type: str
    doc: str
    config: ConfigModel
    outputs: Mapping[str, str]  #: port -> wire type; the first port is the main one
    static: frozenset[str] = frozenset()  #: fields that must be written out, without expressions
    leads_to: tuple[Pattern, ...] = ()  #: where lists of node ids stand that this node chooses among
    deferred: Mapping[Pattern, str] = field(default_factory=dict)  #: evaluated in the body's scope -> type
    block: BlockSpec | None = None
    passes_on: str | None = None  #: field whose live text flows through when `stream` is true

    @property
    def inputs(self) -> Mapping[str, str]:
        """Every configuration field and its wire type."""
        return {name: wire_of(info) for name, info in self.config.model_fields.items()}


def wire_of(info: FieldInfo) -> str:
    """The wire type of a configuration field: its `Wire` mark, or what its annotation suggests."""
    marked = next((mark.name for mark in info.metadata if isinstance(mark, Wire)), None)
    return parse(marked) if marked else _from_annotation(info.annotation)


def _from_annotation(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _from_annotation(arguments[0])
    if origin in (types.UnionType, typing.Union):
        kinds = {_from_annotation(item) for item in arguments if item is not type(None)}
        return kinds.pop() if len(kinds) == 1 else "any"
    if origin in (list, tuple):
        return f"list[{_from_annotation(arguments[0])}]" if arguments else "list[any]"
    if origin is typing.Literal:
        return "text"
    plain = origin or annotation
    known = {str: "text", int: "number", float: "number", bool: "bool", dict: "object", Mapping: "object"}
    return known.get(plain, "any") if isinstance(plain, type) else "any"
