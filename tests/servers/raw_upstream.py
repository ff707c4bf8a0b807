"""An upstream for tests of proxies: every byte that it sends, and every break, is written out by the test.

A real TCP server on loopback. Unlike `clusterkit.testing.scripted_llm` it knows nothing of OpenAI and
can be as rude as a test needs.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}


@dataclass
class Exchange:
    """One request that came in, and the means to answer it."""

    method: str
    target: str
    headers: Mapping[str, str]  #: names in lower case
    body: bytes
    connection: int  #: counts the connections of this upstream from 0
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Write `data` as it is."""
        self.writer.write(data)
        with suppress(ConnectionError):
            await self.writer.drain()

    async def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Write a status line and headers."""
        lines = [
            f"HTTP/1.1 {status} Status",
            *(f"{name}: {value}" for name, value in headers.items()),
            "",
            "",
        ]
        await self.send("\r\n".join(lines).encode("latin-1"))

    async def answer(
        self, body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Write a whole answer with its length."""
        given = headers or {"content-type": "application/json"}
        await self.head(status, {**given, "content-length": str(len(body))})
        await self.send(body)

    async def chunk(self, data: bytes) -> None:
        """Write one chunk of a chunked body; b"" ends it."""
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def stream(self, pieces: Sequence[bytes]) -> None:
        """Write a whole event stream, one chunk a piece."""
        await self.head(200, EVENT_STREAM)
        for piece in (*pieces, b""):
            await self.chunk(piece)

    async def pause(self, seconds: float) -> None:
        """Let time pass before the next byte."""
        await asyncio.sleep(seconds)

    def hang_up(self) -> None:
        """Close the connection in good order."""
        self.writer.close()

    def reset(self) -> None:
        """Break the connection."""
        self.writer.transport.abort()

    async def until_closed(self) -> None:
        """Wait until the other side has closed the connection."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


Behaviour = Callable[[Exchange], Awaitable[None]]


@dataclass
class RawUpstream:
    """A running upstream."""

    host: str
    port: int
    behave: Behaviour  #: may be replaced at any time
    requests: list[Exchange] = field(default_factory=list)
    connections: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side closes it."""
        number, self.connections = self.connections, self.connections + 1
        self.writers.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                exchange = await _read(reader, writer, number)
                self.requests.append(exchange)
                await self.behave(exchange)
        writer.close()

    def drop_connections(self) -> None:
        """Close every open connection, as a restarting server does."""
        for writer in self.writers:
            writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> Exchange:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(": ") for line in lines if line)
    headers = {name.lower(): value for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Exchange(method, target, headers, body, connection, reader, writer)


@asynccontextmanager
async def raw_upstream(behave: Behaviour) -> AsyncIterator[RawUpstream]:
    """Run an upstream on a free loopback port in this event loop."""
    running: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(upstream.serve(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    host = "127.0.0.1"
    server = await asyncio.start_server(accept, host, 0, limit=2**24, backlog=1024)
    upstream = RawUpstream(host, server.sockets[0].getsockname()[1], behave)
    try:
        yield upstream
    finally:
        server.close()
        for writer in upstream.writers:
            writer.transport.abort()
        for task in tuple(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
