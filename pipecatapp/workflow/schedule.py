"""Decides what may start next: told how a node ended, it says what that sets free.

A node is decided once everything it waits for has ended. `join: any` therefore gives the same answer
whichever branch is quicker.
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from pipecatapp.workflow.graph import Edge, EdgeKind, GraphNode, Scope

ValueT = TypeVar("ValueT")

_CONTROL = (EdgeKind.AFTER, EdgeKind.CASE, EdgeKind.FAILURE)


class Ended(StrEnum):
    """How a node ended, as far as others care."""

    OK = "ok"  # it succeeded, or failed and its fallback stands in
    FAILED = "failed"  # and the run goes on without it
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Outcome:
    """The end of one node; `leads_to` are the nodes that a switch chose."""

    ended: Ended
    leads_to: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Step:
    """What follows from an event: nodes to start and nodes that are skipped, in file order."""

    start: tuple[str, ...]
    skip: tuple[str, ...]


class Memory(Protocol[ValueT]):
    """Something about each node, by id."""

    def __getitem__(self, id_: str, /) -> ValueT:
        """What is remembered."""
        ...

    def __setitem__(self, id_: str, value: ValueT, /) -> None:
        """Remember."""
        ...


class Outcomes(Memory[Outcome], Protocol):
    """How nodes ended, by id."""

    def __contains__(self, id_: object, /) -> bool:
        """Whether a node has ended."""
        ...


class Schedule:
    """One pass through a scope. What it has to remember may be kept elsewhere, as in the rows of a run."""

    def __init__(
        self, scope: Scope, waiting: Memory[int] | None = None, outcomes: Outcomes | None = None
    ) -> None:
        """`waiting`: how many of the nodes that each waits for have not ended."""
        self._scope = scope
        self._waiting: Memory[int] = dict(scope.sources) if waiting is None else waiting
        self._outcomes: Outcomes = {} if outcomes is None else outcomes

    def begin(self) -> Step:
        """The nodes that wait for nothing."""
        return Step(tuple(id_ for id_, count in self._scope.sources.items() if count == 0), ())

    def settle(self, node_id: str, outcome: Outcome) -> Step:
        """Take note that a node has ended. Each node is reported to the caller exactly once."""
        start: list[str] = []
        skip: list[str] = []
        ended = deque([(node_id, outcome)])
        while ended:
            done, how = ended.popleft()
            if done in self._outcomes:
                raise ValueError(f"node {done!r} has already ended")
            self._outcomes[done] = how
            for successor in self._scope.successors[done]:
                self._waiting[successor] -= 1
                if self._waiting[successor]:
                    continue
                if runs(self._scope.nodes[successor], self._outcomes):
                    start.append(successor)
                else:
                    skip.append(successor)
                    ended.append((successor, Outcome(Ended.SKIPPED)))
        return Step(tuple(start), tuple(skip))


def runs(node: GraphNode, outcomes: Memory[Outcome]) -> bool:
    """Whether a node runs, everything it waits for having ended.

    `any` asks the branches that lead to it; if it has none of those, the nodes it reads from.
    """
    if node.common.join == "done":
        return True
    taken = {edge: _taken(edge, node.id, outcomes[edge.source]) for edge in node.edges}
    if node.common.join == "all":
        return all(taken.values())
    control = [edge for edge in node.edges if edge.kind in _CONTROL]
    asked = control or [edge for edge in node.edges if edge.kind is EdgeKind.DATA]
    return not asked or any(taken[edge] for edge in asked)


def _taken(edge: Edge, node_id: str, outcome: Outcome) -> bool:
    if edge.kind is EdgeKind.ERROR:
        return True
    if edge.kind is EdgeKind.FAILURE:
        return outcome.ended is Ended.FAILED
    if edge.kind is EdgeKind.CASE:
        return outcome.ended is Ended.OK and node_id in outcome.leads_to
    return outcome.ended is Ended.OK
