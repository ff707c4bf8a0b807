"""Why a node failed: one list of codes, one exception."""

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


class NodeError(HearthError):
    """A node failed. `node` and `attempt` are filled in by the runner."""

    def __init__(self, error_code: ErrorCode, message: str, *, retry_after: float | None = None) -> None:
        """`retry_after`: seconds that the other side asked to wait."""
        super().__init__(message)
        self.error_code, self.message, self.retry_after = error_code, message, retry_after
        self.code = error_code.value
        self.node, self.attempt = "", 0

    @property
    def retryable(self) -> bool:
        """Whether the failure may go away by itself."""
        return self.error_code in RETRYABLE

    def as_value(self) -> dict[str, Any]:
        """The error as expressions see it, under the name `error`."""
        return {
            "code": self.code,
            "message": self.message,
            "node": self.node,
            "attempt": self.attempt,
            "retryable": self.retryable,
        }


class NodeTimeoutError(NodeError, TimeoutError):
    """A node ran past its `timeout` or `idle_timeout`."""
