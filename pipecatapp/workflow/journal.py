"""What is known of a run in progress: rows of plain data, keyed by path.

A node's path is `think[2].act[0].call`, a round's is `think[2].act[0]`; the run itself is the round with
the empty path. Everything in a row can be written as JSON, and the rows with the graph are the whole state.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

from clusterkit.errors import HearthError
from pipecatapp.workflow.errors import Failure
from pipecatapp.workflow.spec import Rounds


class NodeStatus(StrEnum):
    """The state of a node of a run, and of one attempt at it."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"  # between two attempts; nothing runs
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class RunStatus(StrEnum):
    """The state of a run."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


_NODE: Mapping[StrEnum, frozenset[StrEnum]] = {
    NodeStatus.PENDING: frozenset({NodeStatus.RUNNING, NodeStatus.SKIPPED, NodeStatus.FAILED}),
    NodeStatus.RUNNING: frozenset(
        {NodeStatus.WAITING, NodeStatus.SUCCEEDED, NodeStatus.FAILED, NodeStatus.TIMED_OUT}
        | {NodeStatus.CANCELLED}
    ),
    # One that is stopped before its next attempt ends as its last attempt did.
    NodeStatus.WAITING: frozenset({NodeStatus.RUNNING, NodeStatus.FAILED, NodeStatus.TIMED_OUT}),
}
_RUN: Mapping[StrEnum, frozenset[StrEnum]] = {
    RunStatus.PENDING: frozenset({RunStatus.RUNNING}),
    RunStatus.RUNNING: frozenset(
        {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.CANCELLED}
    ),
}
StatusT = TypeVar("StatusT", NodeStatus, RunStatus)


class IllegalTransitionError(HearthError):
    """A status was about to change in a way that makes no sense: a mistake in the engine or its caller."""

    code = "illegal_transition"


def transition(what: str, status: StatusT, to: StatusT) -> StatusT:
    """The new status of `what`. Raises `IllegalTransitionError`."""
    legal = (_NODE if isinstance(status, NodeStatus) else _RUN).get(status, frozenset())
    if to not in legal:
        ways = ", ".join(sorted(legal)) or "nowhere, it has ended"
        raise IllegalTransitionError(f"{what} cannot go from {status} to {to} (only to: {ways})")
    return to


@dataclass(frozen=True, slots=True)
class BlockRow:
    """The rounds of the current attempt at a block."""

    rounds: Rounds
    begun: int = 0  #: how many rounds began
    open: int = 0  #: how many of those have not ended
    stopping: bool = False  #: no further round begins
    failure: Failure | None = None  #: why it is stopping; None when it is stopped from outside


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One node in one round."""

    status: NodeStatus = NodeStatus.PENDING
    sources: int = 0  #: how many of the nodes that it waits for have not ended
    attempt: int = 0  #: number of the last attempt, from 1
    outputs: Mapping[str, Any] | None = None  #: by port, once others may read them
    leads_to: tuple[str, ...] = ()  #: the ids that a switch chose
    failure: Failure | None = None  #: of the last attempt
    block: BlockRow | None = None


@dataclass(frozen=True, slots=True)
class RoundRow:
    """One pass through the nodes of a block, or of the file."""

    variables: Mapping[str, Any]  #: what its expressions see beside nodes: `item`, `index`, `inputs`
    live: int = 0  #: nodes that began, or are about to, and have not ended
    stopping: bool = False  #: no further node begins
    failure: Failure | None = None  #: why it is stopping; None when it is stopped from outside
    outputs: Mapping[str, Any] | None = None  #: what it adds to the outputs of a block that collects


@dataclass(frozen=True, slots=True)
class RunRow:
    """The run as a whole."""

    status: RunStatus = RunStatus.PENDING
    limit: float | None = None  #: seconds that it may take


RowT = TypeVar("RowT", NodeRow, RoundRow)


class Rows(Mapping[str, RowT], Generic[RowT]):
    """Rows by path, as a value: nothing changes it, and `updated` gives another one.

    The newest of a line of values holds the dictionary, each older one only what was different in it
    (H. Baker, "Shallow Binding Makes Functional Arrays Fast", 1991). So an update costs what it touches,
    and an old value is as right as ever, though reading it costs a copy. Not for several threads.
    """

    def __init__(self, rows: Mapping[str, RowT] | None = None) -> None:
        """The rows are copied."""
        self._rows: dict[str, RowT] | None = dict(rows or {})
        self._newer: Rows[RowT] | None = None
        self._before: Mapping[str, RowT | None] = {}

    def updated(self, changes: Mapping[str, RowT]) -> "Rows[RowT]":
        """These rows with `changes` in them."""
        if not changes:
            return self
        rows = self._own()
        newer: Rows[RowT] = Rows()
        self._newer, self._before = newer, {path: rows.get(path) for path in changes}
        rows.update(changes)
        newer._rows, self._rows = rows, None
        return newer

    def _own(self) -> dict[str, RowT]:
        if self._rows is None:
            line: list[Rows[RowT]] = [self]
            while line[-1]._rows is None and line[-1]._newer is not None:
                line.append(line[-1]._newer)
            rows = dict(line.pop()._rows or {})
            for older in reversed(line):
                for path, row in older._before.items():
                    if row is None:
                        del rows[path]
                    else:
                        rows[path] = row
            self._rows, self._newer, self._before = rows, None, {}
        return self._rows

    def __getitem__(self, path: str) -> RowT:
        """The row of a path. Raises `KeyError`."""
        return (self._rows if self._rows is not None else self._own())[path]

    def __iter__(self) -> Iterator[str]:
        """The paths."""
        return iter(self._own())

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._own())


@dataclass(frozen=True, slots=True)
class State:
    """A run in progress. A new one has not begun."""

    run: RunRow = RunRow()
    nodes: Rows[NodeRow] = field(default_factory=Rows)
    rounds: Rows[RoundRow] = field(default_factory=Rows)
