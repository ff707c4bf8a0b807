"""Both ends of the comparison, run on the lab's hosts by Debian's Python: `serve PORT`, or
`load ADDRESS PORT CONNECTIONS SECONDS`, which prints what it saw as JSON.

Kept to the standard library, because the hosts have nothing else.
"""

import asyncio
import json
import sys
import time

BODY = b"x" * 1024
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
END = b"\r\n\r\n"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request of a connection with the same."""
    try:
        while await reader.readuntil(END):
            writer.write(ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def serve(port: int) -> None:
    """Serve for ever."""
    server = await asyncio.start_server(answer, "0.0.0.0", port)
    await server.serve_forever()


async def ask(address: str, port: int, until: float, taken: list[float]) -> None:
    """Send one request after the other over one connection."""
    reader, writer = await asyncio.open_connection(address, port)
    request = f"GET / HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
    began = time.perf_counter()
    while began < until:
        writer.write(request)
        await reader.readuntil(END)
        await reader.readexactly(len(BODY))
        now = time.perf_counter()
        taken.append(now - began)
        began = now
    writer.close()


async def load(address: str, port: int, connections: int, seconds: float) -> None:
    """Measure for so many seconds, and print it."""
    taken: list[float] = []
    began = time.perf_counter()
    asking = (ask(address, port, began + seconds, taken) for _ in range(connections))
    await asyncio.gather(*asking)
    spent = time.perf_counter() - began
    taken.sort()
    seen = {
        "requests_per_s": len(taken) / spent,
        "p50_ms": taken[len(taken) // 2] * 1000,
        "p99_ms": taken[len(taken) * 99 // 100] * 1000,
    }
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    what, *given = sys.argv[1:]
    if what == "serve":
        asyncio.run(serve(int(given[0])))
    else:
        asyncio.run(load(given[0], int(given[1]), int(given[2]), float(given[3])))
