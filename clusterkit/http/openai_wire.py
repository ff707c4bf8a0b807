"""The OpenAI chat wire format: requests as far as we read them, answers, chunks and errors.

Shapes follow OpenAI's published API reference for chat completions.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from clusterkit.errors import HearthError

DONE = b"data: [DONE]\n\n"
CLIENT_LEFT = 499  #: logged and counted, never sent; the code nginx uses for a client that went away
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class ApiError(HearthError):
    """An error with its own HTTP answer, rendered in OpenAI's shape."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        """`status` is the HTTP status, `retry_after` the seconds a client should wait."""
        super().__init__(message)
        self.message, self.status, self.type, self.param = message, status, type, param
        self.code = code or type
        self.retry_after = retry_after

    @property
    def body(self) -> bytes:
        """The JSON body."""
        return orjson.dumps(error_body(self.message, self.type, self.code, self.param))

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """ASGI headers: content type and, when set, `Retry-After` in whole seconds."""
        pairs = [(b"content-type", b"application/json")]
        if self.retry_after is not None:
            pairs.append((b"retry-after", b"%d" % max(1, round(self.retry_after))))
        return pairs


def error_body(
    message: str, type: str, code: str | None = None, param: str | None = None
) -> dict[str, dict[str, str | None]]:
    """An error object as OpenAI's clients expect it."""
    return {"error": {"message": message, "type": type, "param": param, "code": code or type}}


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error, for the descriptions of our APIs."""

    error: ErrorDetail


class ChatMessage(BaseModel):
    """One message of a conversation; unknown fields pass through."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None

    def text(self) -> str:
        """The text of the message; parts that are not text are left out."""
        if isinstance(self.content, str):
            return self.content
        parts = [part.get("text", "") for part in self.content or [] if part.get("type") == "text"]
        return "\n".join(str(part) for part in parts)


class StreamOptions(BaseModel):
    """`stream_options` of a request."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """What a service of ours reads of a chat request; unknown fields pass through."""

    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a streamed answer should end with a usage chunk."""
        return self.stream_options is not None and self.stream_options.include_usage


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """A usage object."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def completion(
    *, id: str, model: str, created: int, text: str, finish_reason: FinishReason, usage: Mapping[str, int]
) -> dict[str, Any]:
    """A whole chat completion with one choice; `created` is in seconds since 1970."""
    message = {"role": "assistant", "content": text}
    return {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}],
        "usage": dict(usage),
    }


def chunk(
    *,
    id: str,
    model: str,
    created: int,
    delta: Mapping[str, Any] | None,
    finish_reason: FinishReason | None = None,
    usage: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """One chunk of a streamed completion; `delta=None` makes the usage chunk, which has no choices."""
    choices: Sequence[Mapping[str, Any]] = (
        [] if delta is None else [{"index": 0, "delta": dict(delta), "finish_reason": finish_reason}]
    )
    body: dict[str, Any] = {
        "id": id,
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": choices,
    }
    return body if usage is None else {**body, "usage": dict(usage)}


def sse(event: Mapping[str, Any]) -> bytes:
    """One server-sent event carrying JSON. Never an `id:` line: some clients then choke on comments."""
    return b"data: " + orjson.dumps(event) + b"\n\n"
