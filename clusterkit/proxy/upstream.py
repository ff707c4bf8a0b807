"""A small HTTP/1.1 client for proxying: pooled connections, a deadline per phase.

httptools parses, asyncio carries. It exists because a general client costs ten times the CPU on the
gateway's hot path, and three times the start of the `hearth` command; everything else uses httpx.
"""

import asyncio
import math
from pathlib import Path
from typing import cast

import httptools

from clusterkit.proxy.exchange import (
    Deadlines,
    ExchangePhase,
    UpstreamBroken,
    UpstreamError,
    UpstreamRefused,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamTimeout,
)

KEEP_ALIVE_S = 30.0  #: an unused connection is closed after this long


class _Connection(asyncio.Protocol):
    """One TCP connection; carries one exchange at a time.

    A single lazy timer serves every deadline: moving a deadline is an assignment, and the timer,
    when it fires, looks where the deadline is now.
    """

    def __init__(self, pool: "UpstreamPool", key: tuple[str, int]) -> None:
        self.loop = asyncio.get_running_loop()
        self.key = key
        self._pool = pool
        self._deadlines = pool.deadlines
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._response: UpstreamResponse | None = None
        self._paused = False
        self._phase: ExchangePhase | None = None
        self._expires = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def start(self, request: UpstreamRequest, encoded: bytes) -> UpstreamResponse:
        self._response = UpstreamResponse(self, bodiless=request.method == "HEAD")
        self._expect("first_byte", self._deadlines.first_byte)
        assert self._transport is not None
        self._transport.write(encoded)
        return self._response

    def fail(self, error: UpstreamError) -> None:
        response, self._response = self._response, None
        self.drop()
        if response is not None:
            response.end(error)

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def resume(self) -> None:
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()
            self._expect("idle", self._deadlines.idle)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        if self._response is None:
            self.drop()  # nobody asked: this connection cannot be trusted any more
            return
        self._response.touch()
        self._expect("idle", self._deadlines.idle)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.fail(UpstreamBroken("the upstream switched protocols", started=True))
        except httptools.HttpParserError as error:
            self.fail(UpstreamBroken(f"the upstream's answer is not HTTP: {error}", started=True))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._pool.forget(self)
        response, self._response = self._response, None
        if response is not None:
            broken = UpstreamBroken(f"the connection broke: {exc}", started=response.started)
            response.end(None if exc is None else broken)

    # httptools callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._response is not None:
            self._response.add_header(name, value)

    def on_headers_complete(self) -> None:
        if self._response is not None and self._response.begin_body(self._parser.get_status_code()):
            self._release(keep=False)

    def on_body(self, chunk: bytes) -> None:
        if self._response is None or not self._response.add_body(chunk) or self._paused:
            return
        if self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()
            self._expect("consumer", self._deadlines.idle)

    def on_message_complete(self) -> None:
        # llhttp forgets the answer to should_keep_alive once this callback has returned.
        keep = self._parser.should_keep_alive()
        if self._response is None or self._parser.get_status_code() < 200:
            return
        self._release(keep=keep)

    def _release(self, *, keep: bool) -> None:
        response, self._response = self._response, None
        if response is None or not response.finish():
            return
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        self._expect(None, KEEP_ALIVE_S)
        if keep:
            self._pool.give(self)
        else:
            self.drop()

    def _expect(self, phase: ExchangePhase | None, seconds: float) -> None:
        self._phase = phase
        self._expires = when = self.loop.time() + seconds
        if when < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._set_timer(when)

    def _set_timer(self, when: float) -> None:
        self._timer_at = when
        self._timer = self.loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        if self.loop.time() + 0.001 < self._expires:
            self._set_timer(self._expires)
        elif self._phase is None:
            self.drop()
        else:
            what = {"first_byte": "no answer began", "idle": "the answer stood still"}
            why = what.get(self._phase, "the reader stood still")
            self.fail(UpstreamTimeout(f"{why} for too long on {self.key[0]}:{self.key[1]}", self._phase))


class UpstreamPool:
    """Keep-alive connections to any number of upstreams; owned by one event loop."""

    def __init__(self, deadlines: Deadlines | None = None, *, socket: Path | None = None) -> None:
        """`deadlines` default to `Deadlines()`; all requests go to the Unix `socket`, where there is one."""
        self.deadlines = deadlines or Deadlines()
        self._socket = socket
        self._idle: dict[tuple[str, int], list[_Connection]] = {}
        self._all: set[_Connection] = set()

    async def request(self, request: UpstreamRequest) -> UpstreamResponse:
        """Send `request`; returns when the answer's head is there.

        A reused connection that breaks before any byte of an answer was stale: the request is sent
        once more on a fresh one. Raises `UpstreamRefused`, `UpstreamTimeout`, `UpstreamBroken`.
        Whoever leaves before the end of the body must call `abort()` on the response.
        """
        encoded = request.encode()
        key = (request.host, request.port)
        reused = self._take(key)
        if reused is not None:
            try:
                return await reused.start(request, encoded).wait_for_head()
            except UpstreamBroken as error:
                if error.started:
                    raise
        fresh = await self._connect(key)
        return await fresh.start(request, encoded).wait_for_head()

    async def close(self) -> None:
        """Close every connection; exchanges still running end in `UpstreamBroken`."""
        for connection in tuple(self._all):
            connection.drop()
        await asyncio.sleep(0)

    def give(self, connection: _Connection) -> None:
        """Keep an idle connection for the next request."""
        self._idle.setdefault(connection.key, []).append(connection)

    def forget(self, connection: _Connection) -> None:
        """The connection is gone."""
        self._all.discard(connection)
        idle = self._idle.get(connection.key, [])
        if connection in idle:
            idle.remove(connection)
        if not idle:
            self._idle.pop(connection.key, None)

    def _take(self, key: tuple[str, int]) -> _Connection | None:
        idle = self._idle.get(key, [])
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
        return None

    async def _connect(self, key: tuple[str, int]) -> _Connection:
        host, port = key
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.deadlines.connect):
                if self._socket is not None:
                    connecting = loop.create_unix_connection(
                        lambda: _Connection(self, key), str(self._socket)
                    )
                else:
                    connecting = loop.create_connection(lambda: _Connection(self, key), host, port)
                _, connection = await connecting
        except TimeoutError as error:
            raise UpstreamTimeout(f"no connection to {host}:{port} in time", "connect") from error
        except OSError as error:
            raise UpstreamRefused(f"no connection to {host}:{port}: {error.strerror or error}") from error
        self._all.add(connection)
        return connection
