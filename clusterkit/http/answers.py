"""Whole answers of raw ASGI applications."""

from starlette.types import Send

from clusterkit.http.headers import Headers
from clusterkit.http.openai_wire import ApiError


async def send_answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Answer with a whole body; Content-Length is added."""
    sized = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": sized})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: ApiError, more: Headers = ()) -> None:
    """Answer with `error`, with `more` headers."""
    await send_answer(send, error.status, [*error.headers, *more], error.body)
