"""How a run, its nodes and its tool calls went."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clusterkit.errors import HearthError
from pipecatapp.workflow.journal import NodeStatus, RunStatus


@dataclass(frozen=True)
class Attempt:
    """One try at a node."""

    number: int
    status: NodeStatus
    seconds: float
    error: Mapping[str, Any] | None = None  #: see `Failure.as_value`


@dataclass
class NodeRecord:
    """How one node of a run went. Its path tells rounds apart: `think[2].act[0].call`."""

    path: str
    type: str
    status: NodeStatus
    attempts: list[Attempt] = field(default_factory=list)
    outputs: Mapping[str, Any] = field(default_factory=dict)


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
    status: RunStatus
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
