"""Reading the body of a raw ASGI request, bounded."""

from starlette.types import Receive, Scope

from clusterkit.openai_wire import ApiError


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes | None:
    """The whole request body; None when the client left before its end.

    Raises `ApiError` 413 as soon as the body is, or announces that it will be, larger than `limit` bytes.
    """
    announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit: int) -> ApiError:
    return ApiError(
        f"The request body is larger than {limit} bytes, the most that is accepted.",
        status=413,
        code="request_too_large",
    )
