"""Why a node failed: one list of codes; the failure as data and as an exception."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from clusterkit.errors import HearthError


class ErrorCode(StrEnum):
    """Every way in which a node can fail."""

    NETWORK = "network"  # the other side could not be reached, or fell silent in mid-answer
    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"  # the other side is there, but cannot answer now
    TIMEOUT = "timeout"
    IDLE_TIMEOUT = "idle_timeout"
    MODEL_REFUSED = "model_refused"  # the model server did not accept the request
    TOOL_FAILED = "tool_failed"
    UNKNOWN_TOOL = "unknown_tool"
    BAD_ARGUMENTS = "bad_arguments"
    APPROVAL_REQUIRED = "approval_required"
    NO_CASE = "no_case"
    LOOP_EXHAUSTED = "loop_exhausted"
    TOO_MANY_ITEMS = "too_many_items"
    EXPRESSION = "expression"
    INVALID_CONFIG = "invalid_config"
    INVALID_OUTPUT = "invalid_output"
    INTERNAL = "internal"  # a mistake in the node's own code


#: Failures that may go away by themselves.
RETRYABLE = frozenset(
    {ErrorCode.NETWORK, ErrorCode.RATE_LIMIT, ErrorCode.OVERLOADED, ErrorCode.TIMEOUT, ErrorCode.IDLE_TIMEOUT}
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a node or a run failed, as plain data. `node` is a path, empty when it was the run as a whole."""

    code: str  #: one of `ErrorCode`
    message: str
    node: str = ""
    attempt: int = 0
    retry_after: float | None = None  #: seconds that the other side asked to wait
    timed_out: bool = False  #: a limit of the workflow was reached

    @property
    def error_code(self) -> ErrorCode:
        """The code as a member of the list."""
        return ErrorCode(self.code)

    @property
    def retryable(self) -> bool:
        """Whether the failure may go away by itself."""
        return self.error_code in RETRYABLE

    def at(self, node: str, attempt: int) -> "Failure":
        """The same failure with its place; one that has a place already keeps it."""
        return self if self.node else replace(self, node=node, attempt=attempt)

    def as_value(self) -> dict[str, Any]:
        """The failure as expressions see it, under the name `error`."""
        return {
            "code": self.code,
            "message": self.message,
            "node": self.node,
            "attempt": self.attempt,
            "retryable": self.retryable,
        }

    def as_error(self) -> "NodeError":
        """The failure as an exception."""
        kind = NodeTimeoutError if self.timed_out else NodeError
        return kind(self.error_code, self.message, retry_after=self.retry_after)


class NodeError(HearthError):
    """A node failed."""

    def __init__(self, error_code: ErrorCode, message: str, *, retry_after: float | None = None) -> None:
        """`retry_after`: seconds that the other side asked to wait."""
        super().__init__(message)
        self.error_code, self.message, self.retry_after = error_code, message, retry_after
        self.code = error_code.value

    @property
    def failure(self) -> Failure:
        """The error as data."""
        timed_out = isinstance(self, TimeoutError)
        return Failure(self.code, self.message, retry_after=self.retry_after, timed_out=timed_out)

    @property
    def retryable(self) -> bool:
        """Whether the failure may go away by itself."""
        return self.failure.retryable


class NodeTimeoutError(NodeError, TimeoutError):
    """A node or a run went past its `timeout` or `idle_timeout`."""
