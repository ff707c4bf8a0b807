"""Request bodies, bounded: read whole by a raw ASGI application, or kept in bounds under a framework."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clusterkit.http.answers import send_error
from clusterkit.http.openai_wire import ApiError

MAX_BODY_BYTES = 8 * 2**20  #: far above any conversation, far below what hurts a small machine
TOO_LARGE = "request_too_large"  #: the code of the error


def too_large(limit: int) -> ApiError:
    """The answer to a body of more than `limit` bytes."""
    message = f"The request body is larger than {limit} bytes, the most that is accepted."
    return ApiError(message, status=413, code=TOO_LARGE)


def announced_size(scope: Scope) -> int:
    """The size in bytes that the request announces, 0 when it announces none."""
    value = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(value) if value.isdigit() else 0


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes | None:
    """The whole request body; None when the client left before its end.

    Raises `ApiError` 413 as soon as the body is, or announces that it will be, larger than `limit` bytes.
    """
    if announced_size(scope) > limit:
        raise too_large(limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise too_large(limit)
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


class BodyLimit:
    """ASGI: bodies beyond `limit` bytes are answered 413, announced ones before they are read."""

    def __init__(self, app: ASGIApp, *, limit: int = MAX_BODY_BYTES) -> None:
        """Wrap `app`."""
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if announced_size(scope) > self._limit:
            await send_error(send, too_large(self._limit))
            return
        read = 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._limit:
                # The framework hands its own exception type on unchanged, and no other.
                raise HTTPException(413, too_large(self._limit).message)
            return message

        await self._app(scope, bounded, send)
