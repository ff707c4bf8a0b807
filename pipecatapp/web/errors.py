"""What each failure of a turn or a message is over HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass

from clusterkit.errors import HearthError
from clusterkit.http.openai_wire import ApiError
from pipecatapp.runs.records import InvalidInputError, RunFailedError
from pipecatapp.turns.errors import (
    BUSY_SECONDS,
    ForeignCallback,
    InvalidTurn,
    NoPlaceInTime,
    TooManyMessages,
    TooManyTurns,
)
from pipecatapp.workflow.errors import ErrorCode


@dataclass(frozen=True)
class _Answer:
    """How a failure is answered; by default with its own code, and its own time to wait if it has one."""

    status: int
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None


_SERVER_ERROR = "server_error"
_MISTAKE = _Answer(500, _SERVER_ERROR)  #: whatever is not listed
_UNAVAILABLE = _Answer(503, _SERVER_ERROR, retry_after=BUSY_SECONDS)
_TIMED_OUT = _Answer(504, _SERVER_ERROR)

_BY_CLASS: Mapping[type[HearthError], _Answer] = {
    InvalidTurn: _Answer(400, code="invalid_request_error", param="messages"),
    InvalidInputError: _Answer(400),
    ForeignCallback: _Answer(400, param="respond_to.url"),
    TooManyMessages: _Answer(429),
    TooManyTurns: _Answer(429, "rate_limit_error"),
    NoPlaceInTime: _Answer(503, _SERVER_ERROR),
}
#: Runs that failed, by the code of the node that did.
_BY_CODE: Mapping[str, _Answer] = {
    ErrorCode.MODEL_REFUSED: _Answer(400),
    ErrorCode.NETWORK: _UNAVAILABLE,
    ErrorCode.OVERLOADED: _UNAVAILABLE,
    ErrorCode.RATE_LIMIT: _UNAVAILABLE,
    ErrorCode.TIMEOUT: _TIMED_OUT,
    ErrorCode.IDLE_TIMEOUT: _TIMED_OUT,
}


def as_api_error(error: HearthError) -> ApiError:
    """A failure as an HTTP answer."""
    if isinstance(error, ApiError):
        return error
    answer = _BY_CLASS.get(type(error)) or (
        _BY_CODE.get(error.code, _MISTAKE) if isinstance(error, RunFailedError) else _MISTAKE
    )
    return ApiError(
        str(error),
        status=answer.status,
        type=answer.type,
        code=answer.code or error.code,
        param=answer.param,
        retry_after=answer.retry_after or getattr(error, "retry_after", None),
    )
