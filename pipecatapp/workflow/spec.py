"""What the loader must know about a node type: its configuration, its ports, its place in the graph."""

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
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


@dataclass(frozen=True, slots=True)
class Rounds:
    """What a block keeps from round to round: plain data of its own."""

    kept: Mapping[str, Any]
    at_once: int = 1  #: how many rounds may be open side by side


@dataclass(frozen=True, slots=True)
class EndedRound:
    """A round whose nodes have all ended, as its block sees it."""

    block: str  #: the block's path
    index: int
    config: Mapping[str, Any]  #: the block's configuration as compiled, for its deferred parts
    names: Mapping[str, Any]  #: what expressions see at the end of the round


@dataclass(frozen=True)
class BlockSpec:
    """What makes a node type a block: nodes under `do`, in rounds with a scope of their own.

    The functions are pure; the engine calls them, and keeps `Rounds` with the run's state.
    """

    #: (configuration, type of a compiled value) -> the names the body sees and their wire types
    variables: Callable[[Mapping[str, Any], Callable[[Any], str]], Mapping[str, str]]
    collects: bool  #: each output is the list of what every round made; otherwise the last round's
    begin: Callable[[Any], Rounds]  #: from the checked configuration. Raises `NodeError`
    #: (rounds, index) -> the variables of the round with that index; None when there is no further one
    round: Callable[[Rounds, int], Mapping[str, Any] | None]
    #: what is kept after a round. Raises `NodeError` or `ExpressionError`
    after: Callable[[Rounds, EndedRound], Rounds] = lambda rounds, ended: rounds


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

    @cached_property
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
    wires = {str: "text", int: "number", float: "number", bool: "bool", dict: "object", Mapping: "object"}
    return wires.get(plain, "any") if isinstance(plain, type) else "any"
