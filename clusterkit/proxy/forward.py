"""Forward one ASGI request to one upstream and stream the answer back.

Nothing is re-serialised: bodies pass byte for byte. While the upstream works, the client is watched;
when it leaves, the upstream connection is closed at once, so that a model stops generating.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import orjson
from starlette.types import Message, Receive, Send

from clusterkit.http.headers import Headers
from clusterkit.http.openai_wire import ApiError, error_body
from clusterkit.proxy.exchange import (
    UpstreamBroken,
    UpstreamError,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamTimeout,
)
from clusterkit.proxy.upstream import UpstreamPool

MAX_UNARY_BYTES = 64 * 1024 * 1024  #: a whole (not streamed) answer larger than this is refused
MAX_LINE_BYTES = 256 * 1024  #: an unfinished line of a stream is held back up to this size
RETRY_AFTER_S = 2.0  #: what a client is told when no instance can serve it now

#: RFC 9110 §7.6.1, and what the serving side writes itself. Which pages may read an answer
#: (access-control-*) is decided in front, never by a model server.
_OWN_HEADERS = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding"),
        *(b"upgrade", b"proxy-authenticate", b"proxy-authorization", b"content-length"),
        *(b"date", b"server", b"x-request-id"),
    )
)
_STREAM_HEADERS = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Forwarded:
    """How it went: `cut` means that the upstream died in mid-stream, `client_left` that the client did."""

    status: int
    outcome: Literal["complete", "cut", "client_left"]


class UpstreamUnavailable(UpstreamError):
    """The upstream answered 503; nothing has been sent to the client, so another instance may be tried.

    `headers` and `body` are its answer, fit to be passed on.
    """

    code = "upstream_unavailable"

    def __init__(self, headers: Headers, body: bytes) -> None:
        """Keep the refused answer."""
        super().__init__("the upstream is not ready to answer")
        self.headers, self.body = headers, body

    @property
    def nothing_sent(self) -> bool:
        """True: the upstream said that it did nothing."""
        return True


async def forward(
    pool: UpstreamPool,
    request: UpstreamRequest,
    receive: Receive,
    send: Send,
    *,
    extra_headers: Headers = (),
) -> Forwarded:
    """Send `request` and relay the answer; `extra_headers` replace the upstream's of the same name.

    The request's body must have been read from `receive` to its end. Raises `UpstreamError` when nothing
    has been sent to the client yet: try another instance if `nothing_sent`, else answer `upstream_failure`.
    """
    relay = _Relay(pool, request, send, extra_headers)
    failure: UpstreamError | None = None
    outcome: Literal["complete", "client_left"] = "complete"
    try:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(relay.watch(receive))
            try:
                await relay.run()
            except UpstreamError as error:
                failure = error
            watcher.cancel()
    except* (_ClientLeft, OSError):  # an ASGI server may also raise OSError from send
        outcome, failure = "client_left", None
    if failure is not None:
        raise failure
    return Forwarded(status=relay.status, outcome="cut" if relay.cut else outcome)


def upstream_failure(error: UpstreamError) -> ApiError:
    """The OpenAI-shaped answer for an upstream that failed: 503, 504 or 502."""
    if error.nothing_sent:
        return ApiError(
            f"The model server cannot be reached now: {error}.",
            status=503,
            type="server_error",
            code=error.code,
            retry_after=RETRY_AFTER_S,
        )
    if isinstance(error, UpstreamTimeout):
        return ApiError(
            f"The model server took too long: {error}.", status=504, type="server_error", code=error.code
        )
    return ApiError(f"The model server failed: {error}.", status=502, type="server_error", code=error.code)


def end_to_end(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Drop hop-by-hop headers, those named in `Connection`, and those that the serving side writes."""
    dropped: frozenset[bytes] | set[bytes] = _OWN_HEADERS
    for name, value in headers:
        if name == b"connection":
            dropped = dropped | {part.strip().lower() for part in value.split(b",")}
    return [pair for pair in headers if pair[0] not in dropped and not pair[0].startswith(b"access-control-")]


class _ClientLeft(Exception):
    """The client closed its connection before the answer was complete."""


class _Relay:
    def __init__(self, pool: UpstreamPool, request: UpstreamRequest, send: Send, extra: Headers) -> None:
        self.status = 0
        self.cut = False
        self._pool, self._request, self._send, self._extra = pool, request, send, extra
        self._finishing = False

    async def watch(self, receive: Receive) -> None:
        """Raise when the client leaves; a server also says so once our own answer has ended."""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                if self._finishing:
                    return
                raise _ClientLeft

    async def run(self) -> None:
        response = await self._pool.request(self._request)
        try:
            self.status = response.status
            if _is_event_stream(response.headers):
                await self._stream(response)
            else:
                await self._whole(response)
        finally:
            response.abort()

    async def _whole(self, response: UpstreamResponse) -> None:
        # Collected first: an upstream that dies half-way then becomes a clean error.
        parts: list[bytes] = []
        size = 0
        while part := await response.read():
            size += len(part)
            if size > MAX_UNARY_BYTES:
                raise UpstreamBroken(f"its answer is larger than {MAX_UNARY_BYTES} bytes", started=True)
            parts.append(part)
        headers = end_to_end(response.headers)
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if response.status == 503:
            raise UpstreamUnavailable(headers, body)
        if self._request.method == "HEAD" or response.status in (204, 304):
            await self._start(headers)
            await self._finish(b"")
            return
        headers.append((b"content-length", b"%d" % len(body)))
        await self._start(headers)
        await self._finish(body)

    async def _stream(self, response: UpstreamResponse) -> None:
        kept = [pair for pair in end_to_end(response.headers) if pair[0] != b"cache-control"]
        await self._start([*kept, *_STREAM_HEADERS])
        held = b""
        try:
            while chunk := await response.read():
                whole, held = _whole_lines(held + chunk if held else chunk)
                if whole:
                    await self._send({"type": "http.response.body", "body": whole, "more_body": True})
        except UpstreamError as error:
            self.cut = True
            await self._finish(_cut_event(error))
            return
        await self._finish(held)

    async def _start(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        replaced = [name for name, _ in self._extra]
        kept = [pair for pair in headers if pair[0] not in replaced]
        message: Message = {
            "type": "http.response.start",
            "status": self.status,
            "headers": [*kept, *self._extra],
        }
        await self._send(message)

    async def _finish(self, body: bytes) -> None:
        self._finishing = True
        await self._send({"type": "http.response.body", "body": body})


def _is_event_stream(headers: Headers) -> bool:
    return any(
        name == b"content-type" and value.lower().startswith(b"text/event-stream") for name, value in headers
    )


def _whole_lines(data: bytes) -> tuple[bytes, bytes]:
    # Half a line means nothing to a reader of server-sent events yet; holding it back lets the
    # stream be ended with a readable error should the upstream die inside it.
    if data.endswith(b"\n"):
        return data, b""
    end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
    if len(data) - end > MAX_LINE_BYTES:
        return data, b""
    return data[:end], data[end:]


def _cut_event(error: UpstreamError) -> bytes:
    """Two line ends finish whatever event was open (at most an empty one), then the error follows.

    Without it the stream looks complete to the OpenAI clients.
    """
    body = error_body(f"The model server failed in mid-stream: {error}.", "server_error", error.code)
    return b"\n\ndata: " + orjson.dumps(body) + b"\n\n"
