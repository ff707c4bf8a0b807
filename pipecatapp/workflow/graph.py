"""The checked, immutable form of a workflow that the runner carries out."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
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
