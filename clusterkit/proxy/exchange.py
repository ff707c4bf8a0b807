"""One HTTP exchange with an upstream: the request as bytes, the answer as it comes in, what can go wrong.

No sockets here; `clusterkit.proxy.upstream` carries the bytes.
"""

import asyncio
from dataclasses import dataclass
from typing import Literal, Protocol

from clusterkit.errors import HearthError
from clusterkit.http.headers import Headers

ExchangePhase = Literal["connect", "first_byte", "idle", "consumer"]

BUFFER_LIMIT = 256 * 1024  #: bytes held for a slow consumer before the upstream is made to wait
MAX_HEAD_BYTES = 64 * 1024  #: a larger response head is refused; no model server comes near it


class UpstreamError(HearthError):
    """The upstream server did not deliver a whole answer."""

    code = "upstream_error"

    @property
    def nothing_sent(self) -> bool:
        """Whether the request never reached the upstream, so that another instance may be tried."""
        return False


class UpstreamRefused(UpstreamError):
    """No connection could be made."""

    code = "upstream_refused"

    @property
    def nothing_sent(self) -> bool:
        """See `UpstreamError.nothing_sent`."""
        return True


class UpstreamTimeout(UpstreamError):
    """A deadline passed; `phase` tells which one. `consumer` means that our own reader stood still."""

    code = "upstream_timeout"

    def __init__(self, message: str, phase: ExchangePhase) -> None:
        """`phase` is the part of the exchange that took too long."""
        super().__init__(message)
        self.phase = phase

    @property
    def nothing_sent(self) -> bool:
        """See `UpstreamError.nothing_sent`."""
        return self.phase == "connect"


class UpstreamBroken(UpstreamError):
    """The connection ended, or talked nonsense, before the answer was whole."""

    code = "upstream_broken"

    def __init__(self, message: str, *, started: bool) -> None:
        """`started` tells whether any byte of the answer had arrived."""
        super().__init__(message)
        self.started = started


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """Seconds per phase. `first_byte` spans a model's prompt processing; `idle` runs between bytes."""

    connect: float = 2.0
    first_byte: float = 300.0
    idle: float = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class UpstreamRequest:
    """One request, complete. `target` is path and query as sent; Host and Content-Length are added."""

    host: str
    port: int
    method: str
    target: bytes
    headers: Headers = ()
    body: bytes = b""

    def encode(self) -> bytes:
        """The bytes on the wire. Raises `ValueError` when a part would smuggle in a line break."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        parts = [b"%b %b HTTP/1.1\r\nhost: %b:%d\r\n" % (
            self.method.encode("ascii"), self.target, host.encode("ascii"), self.port,
        )]  # fmt: skip
        parts.extend(b"%b: %b\r\n" % header for header in self.headers)
        if self.body or self.method not in ("GET", "HEAD"):
            parts.append(b"content-length: %d\r\n" % len(self.body))
        parts.append(b"\r\n")
        head = b"".join(parts)
        lines = len(parts) + 1
        if head.count(b"\r") != lines or head.count(b"\n") != lines or b" " in self.target:
            raise ValueError(f"line break or space inside the request head for {self.target!r}")
        return head + self.body


class Carrier(Protocol):
    """What a response needs of the connection that it arrives on."""

    loop: asyncio.AbstractEventLoop

    def fail(self, error: UpstreamError) -> None:
        """Close the connection and end the exchange with `error`."""

    def resume(self) -> None:
        """The reader has caught up; let the upstream send again."""


class UpstreamResponse:
    """One answer: `status` and `headers` (names in lower case) are there, the body comes by `read`."""

    def __init__(self, connection: Carrier, *, bodiless: bool) -> None:
        """Made by `UpstreamPool.request`; `bodiless` marks the answer to HEAD."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._connection = connection
        self._bodiless = bodiless
        self._head_bytes = 0
        self._head_done = self._started = self._complete = False
        self._error: UpstreamError | None = None
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def started(self) -> bool:
        """Whether any byte of the answer has arrived."""
        return self._started

    @property
    def complete(self) -> bool:
        """Whether the whole body has arrived (parts of it may still wait to be read)."""
        return self._complete

    async def read(self) -> bytes:
        """The body bytes that have come in since the last call, waiting for some; b"" at the end.

        Raises `UpstreamTimeout` or `UpstreamBroken` once what did arrive has been handed out.
        """
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._complete:
                return b""
            await self._wait()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if not self._complete:
            self._connection.resume()
        return data

    async def read_all(self) -> bytes:
        """What is left of the body, to its end. Raises as `read` does."""
        parts = []
        while part := await self.read():
            parts.append(part)
        return b"".join(parts)

    def abort(self) -> None:
        """Close the connection at once, unless the answer is already whole. The upstream stops working."""
        if not self._complete and self._error is None:
            self._connection.fail(UpstreamBroken("the exchange was aborted", started=self._started))

    async def _wait(self) -> None:
        self._waiter = self._connection.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait_for_head(self) -> "UpstreamResponse":
        """Wait until status and headers are known. Raises `UpstreamTimeout` or `UpstreamBroken`."""
        try:
            while not self._head_done:
                if self._error is not None:
                    raise self._error
                await self._wait()
        except asyncio.CancelledError:
            self.abort()
            raise
        return self

    def add_header(self, name: bytes, value: bytes) -> None:
        """A header line has come in."""
        self._head_bytes += len(name) + len(value)
        self.headers.append((name.lower(), value))
        if self._head_bytes > MAX_HEAD_BYTES:
            self._connection.fail(UpstreamBroken("the answer's head is too large", started=True))

    def begin_body(self, status: int) -> bool:
        """The head is whole. Returns whether the answer ends here, as that to HEAD does."""
        if 100 <= status < 200:
            self.headers.clear()
            return False
        self.status = status
        self._head_done = True
        self._wake()
        return self._bodiless

    def add_body(self, chunk: bytes) -> bool:
        """Body bytes have come in. Returns whether the upstream should wait for the reader."""
        self._chunks.append(chunk)
        self._buffered += len(chunk)
        self._wake()
        return self._buffered > BUFFER_LIMIT

    def finish(self) -> bool:
        """The message is whole. Returns False for an interim one (1xx): the answer is still to come."""
        if not self._head_done:
            return False
        self._complete = True
        self._wake()
        return True

    def end(self, error: UpstreamError | None) -> None:
        """The connection is gone; `error` says why, None that the upstream closed it in good order."""
        framed = any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)
        if error is None and self._head_done and not framed:
            self._complete = True  # a body without length or chunks ends where the connection does
        elif error is None:
            when = "in the middle of its answer" if self._started else "without an answer"
            error = UpstreamBroken(f"the upstream closed the connection {when}", started=self._started)
        if not self._complete:
            self._error = self._error or error
        self._wake()

    def touch(self) -> None:
        """Bytes of the answer have arrived."""
        self._started = True
