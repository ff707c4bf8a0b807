"""The checked, immutable form of a workflow that a run carries out."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from pipecatapp.workflow.model import CommonKeys, Input
from pipecatapp.workflow.spec import NodeSpec


class EdgeKind(StrEnum):
    """Why a node waits for another one."""

    DATA = "data"  # it reads an output
    AFTER = "after"  # it names it in `needs`
    CASE = "case"  # a switch leads to it
    FAILURE = "failure"  # it takes over when the other fails
    ERROR = "error"  # it reads the other's error, so any ending will do


@dataclass(frozen=True, order=True)
class Edge:
    """From the node `source` of the same scope."""

    source: str
    kind: EdgeKind


@dataclass(frozen=True, eq=False)
class GraphNode:
    """One checked node."""

    id: str
    path: str  #: ids from the outside in, with dots: `think.ask`
    where: str  #: file:line:column
    spec: NodeSpec
    common: CommonKeys
    when: Any  #: template, bool or None
    config: Mapping[str, Any]  #: compiled: templates in place of texts with expressions
    fallback: Mapping[str, Any] | None  #: compiled outputs by port
    outputs: Mapping[str, str]  #: port -> wire type
    edges: tuple[Edge, ...]
    body: "Scope | None"
    relay_to: str | None  #: path of the output node through which this node's text flows while it is made


@dataclass(frozen=True, eq=False)
class Scope:
    """The nodes of the file, or of one block, in file order. Their edges make no circle."""

    nodes: Mapping[str, GraphNode]
    successors: Mapping[str, tuple[str, ...]]

    @cached_property
    def sources(self) -> Mapping[str, int]:
        """How many nodes each node waits for."""
        return {id_: len({edge.source for edge in node.edges}) for id_, node in self.nodes.items()}


@dataclass(frozen=True, eq=False)
class Graph:
    """A checked workflow."""

    name: str
    description: str
    source: str  #: the file it was read from
    inputs: Mapping[str, Input]
    outputs: Mapping[str, Any]  #: compiled
    output_types: Mapping[str, str]
    wall: float | None  #: seconds that a run may take
    scope: Scope
    ui: Mapping[str, tuple[float, float]]

    def node(self, path: str) -> GraphNode:
        """The node behind a path of a run, `think[2].ask`. Raises `KeyError`."""
        return self._nodes[_INDEX.sub("", path) if "[" in path else path]

    def body(self, round_: str) -> Scope:
        """The nodes of a round, `think[2]`; the empty path is the run's."""
        body = self.node(block_of(round_)).body if round_ else self.scope
        assert body is not None
        return body

    @cached_property
    def _nodes(self) -> Mapping[str, GraphNode]:
        return {node.path: node for node in _all_nodes(self.scope)}


def _all_nodes(scope: Scope) -> Iterator[GraphNode]:
    for node in scope.nodes.values():
        yield node
        if node.body is not None:
            yield from _all_nodes(node.body)


_INDEX = re.compile(r"\[\d+\]")


def round_of(path: str) -> str:
    """The round that a node is in: `think[2].ask` is in `think[2]`, `think` in the run's, the empty path."""
    return path.rpartition(".")[0]


def block_of(round_: str) -> str:
    """The block whose round it is: `think[2]` is one of `think`."""
    return round_.rpartition("[")[0]


def inside(round_: str, id_: str) -> str:
    """The path of a node in a round."""
    return f"{round_}.{id_}" if round_ else id_
