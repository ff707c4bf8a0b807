"""What a node type is, and the little it may touch while it runs."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from clusterkit.clock import Clock
from clusterkit.llm.chat import Models
from pipecatapp.sentences.grammar import Grammar
from pipecatapp.tools.base import Risk, ToolResult
from pipecatapp.workflow.spec import BlockSpec, ConfigModel, NodeSpec, Pattern
from pipecatapp.workflow.types import parse

ConfigT = TypeVar("ConfigT", bound=BaseModel)


class NodeConfig(BaseModel):
    """The base of every node's configuration: nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Tools(Protocol):
    """The way to the tools."""

    async def call(self, name: str, arguments: Any) -> ToolResult:
        """Run a tool. Raises `ToolError`."""
        ...

    def schemas(self, names: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """Tools as a chat request lists them. Raises `ToolError` for an unknown name."""
        ...

    def risk(self, name: str) -> Risk:
        """The risk of a tool; the worst there is for one that is not known."""
        ...


@dataclass(frozen=True)
class NodeContext:
    """What a running node may use."""

    path: str
    attempt: int
    clock: Clock
    models: Models  #: failures are `NodeError` here
    tools: Tools
    grammars: Mapping[str, Grammar]  #: the sentences of exact commands, by language
    emit: Callable[[str], Awaitable[None]]  #: pass on a piece of text while it is being made
    alive: Callable[[], None]  #: a sign of life, for `idle_timeout`


class NodeType(Generic[ConfigT]):
    """What a node type says about itself."""

    type: ClassVar[str]
    Config: ClassVar[ConfigModel]
    outputs: ClassVar[Mapping[str, str]] = {}  #: port -> wire type; the first port is the main one
    static: ClassVar[frozenset[str]] = frozenset()
    leads_to: ClassVar[tuple[Pattern, ...]] = ()
    deferred: ClassVar[Mapping[Pattern, str]] = {}
    block: ClassVar[BlockSpec | None] = None
    passes_on: ClassVar[str | None] = None

    @classmethod
    def spec(cls) -> NodeSpec:
        """What the loader and the engine must know. Raises `ValueError` when the declaration is wrong."""
        return NodeSpec(
            type=cls.type,
            doc=inspect.cleandoc(cls.__doc__ or ""),
            config=cls.Config,
            outputs={port: parse(wire) for port, wire in cls.outputs.items()},
            static=cls.static,
            leads_to=cls.leads_to,
            deferred=cls.deferred,
            block=cls.block,
            passes_on=cls.passes_on,
        )


class Node(NodeType[ConfigT], ABC):
    """A node type that does something. Instances hold no state of a run: the same one serves all runs."""

    @abstractmethod
    async def run(self, config: ConfigT, context: NodeContext) -> "Mapping[str, Any] | Branch":
        """Do the work and return plain data for every output port. Raises `NodeError`."""


class Block(NodeType[ConfigT]):
    """A node type whose work is the nodes under its `do`; `block` says how it goes from round to round."""


@dataclass(frozen=True)
class Branch:
    """The result of a node that chooses: its outputs, and the nodes it leads to."""

    outputs: Mapping[str, Any]
    leads_to: frozenset[str] = field(default_factory=frozenset)
