"""What is known of a run, its nodes and its tool calls."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from clusterkit.errors import HearthError


class Status(StrEnum):
    """The state of a run or of a node in it."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


_ENDS = frozenset({Status.SUCCEEDED, Status.FAILED, Status.TIMED_OUT, Status.CANCELLED})

#: From where to where a status may go. A failed node runs again when it is retried.
LEGAL: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.RUNNING, Status.SKIPPED, Status.FAILED}),
    Status.RUNNING: _ENDS,
    Status.FAILED: frozenset({Status.RUNNING}),
    Status.TIMED_OUT: frozenset({Status.RUNNING}),
    Status.SUCCEEDED: frozenset(),
    Status.SKIPPED: frozenset(),
    Status.CANCELLED: frozenset(),
}


class IllegalTransitionError(HearthError):
    """A status was about to change in a way that makes no sense: a mistake in the engine."""

    code = "illegal_transition"


@dataclass(frozen=True)
class Attempt:
    """One try at a node."""

    number: int
    status: Status
    seconds: float
    error: Mapping[str, Any] | None = None  #: see `NodeError.as_value`


@dataclass
class NodeRecord:
    """How one node of a run went. Its path tells rounds apart: `think[2].act[0].call`."""

    path: str
    type: str
    status: Status = Status.PENDING
    attempts: list[Attempt] = field(default_factory=list)
    outputs: Mapping[str, Any] = field(default_factory=dict)

    def become(self, status: Status) -> None:
        """Change the status. Raises `IllegalTransitionError`."""
        if status not in LEGAL[self.status]:
            raise IllegalTransitionError(f"node {self.path!r} cannot go from {self.status} to {status}")
        self.status = status


@dataclass(frozen=True)
class ToolCallRecord:
    """One tool call of a run, in the order in which they ended."""

    path: str  #: the node that made it
    tool: str
    arguments: Any
    succeeded: bool
    text: str  #: the result, or what went wrong
    seconds: float


@dataclass(frozen=True)
class Usage:
    """Tokens that models read and wrote, as far as their servers told."""

    tokens_in: int = 0
    tokens_out: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """Both together."""
        return Usage(self.tokens_in + other.tokens_in, self.tokens_out + other.tokens_out)


@dataclass(frozen=True)
class RunResult:
    """A finished run."""

    run_id: str
    workflow: str
    status: Status
    outputs: Mapping[str, Any]
    nodes: Mapping[str, NodeRecord]
    tool_calls: tuple[ToolCallRecord, ...]
    seconds: float
    usage: Usage  #: of all its model calls, failed attempts included


class InvalidInputError(HearthError):
    """The inputs do not fit the workflow; nothing was run."""

    code = "invalid_input"


class RunFailedError(HearthError):
    """A run did not succeed. `code` is that of the failed node's error; `result` is what was reached."""

    def __init__(self, code: str, message: str, node: str, result: RunResult) -> None:
        """`node` is the path of the node that failed, empty when it was the run as a whole."""
        super().__init__(f"workflow {result.workflow!r}: {f'node {node!r}: ' if node else ''}{message}")
        self.code, self.problem, self.node, self.result = code, message, node, result
