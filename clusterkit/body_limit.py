"""Bounds how much of a request body a service will read."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clusterkit.openai_wire import ApiError
from clusterkit.tokens import send_error

MAX_BODY_BYTES = 8 * 2**20  #: far above any conversation, far below what hurts a small machine


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
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if announced.isdigit() and int(announced) > self._limit:
            await send_error(send, ApiError(self._problem, status=413, code="body_too_large"))
            return
        read = 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._limit:
                # The framework hands its own exception type on unchanged, and no other.
                raise HTTPException(413, self._problem)
            return message

        await self._app(scope, bounded, send)

    @property
    def _problem(self) -> str:
        return f"The request body is larger than {self._limit} bytes."
