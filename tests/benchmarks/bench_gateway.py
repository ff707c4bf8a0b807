"""What the gateway costs: CPU per request and added latency, beside a minimal FastAPI + httpx proxy.

    python tests/benchmarks/bench_gateway.py

All processes run in the same window on the same machine. CPU is read from the kernel's scheduler
(`/proc/PID/task/*/schedstat`, every thread of the process), which neighbours hardly disturb; latency is given
only as a difference of medians of interleaved requests (direct, gateway, peer, direct, …) on one connection.
The gateway runs as shipped: origin guard, tracing, metrics with exemplars and one log line a request.
"""

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httptools
import httpx
import uvicorn
import uvloop
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from clusterkit.clock import SystemClock
from clusterkit.config.catalogue import SERVICE_PREFIX
from clusterkit.config.environment import environment
from clusterkit.ports.local_registry import LocalRegistry
from clusterkit.ports.registry import Instance

REQUESTS = 4000
STREAMS = 300
CHUNKS = 50
CONNECTIONS = 32
ROUNDS = 600

CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk",'
    b'"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
)
ANSWER = json.dumps({"id": "c", "object": "chat.completion", "choices": [{"message": "x" * 700}]}).encode()


class Upstream(asyncio.Protocol):
    """The cheapest model server there is: a fixed answer, or a fixed stream in one burst."""

    whole = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(ANSWER),
        ANSWER,
    )
    stream = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if b'"stream": true' not in self.body:
            self.transport.write(self.whole)
        else:
            self.transport.write(self.stream)
            for _ in range(CHUNKS):
                self.transport.write(b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK))
            self.transport.write(b"0\r\n\r\n")
        self.body = b""


def make_peer(upstream: str) -> FastAPI:
    """A proxy as one writes it in an afternoon."""
    app = FastAPI()
    client = httpx.AsyncClient(base_url=upstream, timeout=60, limits=httpx.Limits(max_connections=None))

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = await request.json()
        if not body.get("stream"):
            answer = await client.post("/v1/chat/completions", json=body)
            return Response(answer.content, answer.status_code, media_type="application/json")
        sent = client.build_request("POST", "/v1/chat/completions", json=body)
        response = await client.send(sent, stream=True)

        async def parts() -> AsyncIterator[bytes]:
            async for part in response.aiter_raw():
                yield part
            await response.aclose()

        return StreamingResponse(parts(), media_type="text/event-stream")

    return app


def serve_role(role: str, argument: str) -> None:
    """Run as one of the benchmark's own processes; writes the port to standard output."""
    opened = socket.socket()
    opened.bind(("127.0.0.1", 0))
    sys.stdout.write(f"{opened.getsockname()[1]}\n")
    sys.stdout.flush()
    if role == "peer":
        config = uvicorn.Config(
            make_peer(argument), http="httptools", log_config=None, access_log=False, lifespan="off"
        )
        uvloop.run(uvicorn.Server(config).serve(sockets=[opened]))
        return

    async def upstream() -> None:
        server = await asyncio.get_running_loop().create_server(Upstream, sock=opened, backlog=1024)
        await server.serve_forever()

    uvloop.run(upstream())


@contextmanager
def process(
    arguments: list[str], variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [sys.executable, *arguments],
        env={**environment(), **(variables or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def port_of(started: subprocess.Popen[str]) -> int:
    assert started.stdout is not None
    return int(started.stdout.readline())


async def announce(home: Path, upstream: int) -> int:
    """Put the upstream into the registry as the expert `main`; gives the gateway's port."""
    async with LocalRegistry(home / "run" / "registry.db", SystemClock()) as registry:
        await registry.register(
            Instance(service=f"{SERVICE_PREFIX}main", id="main", address="127.0.0.1", port=upstream), ttl=600
        )
        await registry.heartbeat("main", healthy=True)
        index = 0
        while True:
            found = await registry.instances("moe-gateway")
            if found and found[0].healthy:
                return found[0].port
            index = await registry.wait_for_change(index, timeout=1)


def request_bytes(*, stream: bool) -> bytes:
    body = json.dumps(
        {"model": "main", "stream": stream, "messages": [{"role": "user", "content": "x" * 200}]}
    )
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()


class Caller(asyncio.Protocol):
    """One keep-alive connection; `ask` sends a request and waits for the whole answer."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        assert self.parser.get_status_code() == 200, self.parser.get_status_code()
        assert self.done is not None
        self.done.set_result(None)

    async def ask(self, request: bytes) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        await self.done


async def caller(port: int) -> Caller:
    _, made = await asyncio.get_running_loop().create_connection(Caller, "127.0.0.1", port)
    return made


async def load(port: int, request: bytes, count: int) -> None:
    """Send `count` requests over `CONNECTIONS` connections, each as soon as the one before is answered."""
    left = count

    async def keep_asking() -> None:
        nonlocal left
        asking = await caller(port)
        while left > 0:
            left -= 1
            await asking.ask(request)
        asking.transport.close()

    await asyncio.gather(*(keep_asking() for _ in range(CONNECTIONS)))


def cpu_ns(pid: int) -> int:
    """Nanoseconds on a CPU so far, all threads."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))


async def cpu_us(pid: int, port: int, request: bytes, count: int) -> float:
    """CPU microseconds of process `pid` per request, after a warm-up."""
    await load(port, request, count // 10)
    before = cpu_ns(pid)
    await load(port, request, count)
    return (cpu_ns(pid) - before) / count / 1000


async def medians_ms(ports: Mapping[str, int], request: bytes) -> dict[str, float]:
    """Median latency of each port; requests are interleaved, so that all see the same neighbours."""
    callers = {name: await caller(port) for name, port in ports.items()}
    taken: dict[str, list[float]] = {name: [] for name in ports}
    for _ in range(ROUNDS):
        for name, asking in callers.items():
            began = time.perf_counter()
            await asking.ask(request)
            taken[name].append((time.perf_counter() - began) * 1000)
    for asking in callers.values():
        asking.transport.close()
    return {name: statistics.median(times) for name, times in taken.items()}


def rss_mb(pid: int) -> float:
    """Resident memory in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def pressure() -> str:
    """The kernel's CPU pressure now: shares of time in which somebody waited for a CPU."""
    path = Path("/proc/pressure/cpu")
    return path.read_text().splitlines()[0] if path.exists() else "not available"


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


async def measure(gateway: tuple[int, int], peer: tuple[int, int], upstream: int) -> dict[str, float]:
    """Run everything; `gateway` and `peer` are (pid, port)."""
    unary, stream = request_bytes(stream=False), request_bytes(stream=True)
    found: dict[str, float] = {}
    for name, (pid, port) in (("gateway", gateway), ("peer", peer)):
        found[f"{name}_us_per_request"] = await cpu_us(pid, port, unary, REQUESTS)
        found[f"{name}_us_per_stream"] = await cpu_us(pid, port, stream, STREAMS)
        found[f"{name}_rss_mb"] = rss_mb(pid)
    medians = await medians_ms({"direct": upstream, "gateway": gateway[1], "peer": peer[1]}, unary)
    found["direct_ms"] = medians["direct"]
    for name in ("gateway", "peer"):
        found[f"{name}_added_ms"] = medians[name] - medians["direct"]
    return found


def report(found: Mapping[str, float]) -> None:
    say(f"{'':34}{'gateway':>10}{'peer':>10}{'ratio':>8}")
    for key, label in (
        ("us_per_request", f"CPU us/request, {CONNECTIONS} connections"),
        ("us_per_stream", f"CPU us/stream of {CHUNKS} chunks"),
        ("added_ms", "added median latency, ms"),
        ("rss_mb", "resident memory, MB"),
    ):
        ours, theirs = found[f"gateway_{key}"], found[f"peer_{key}"]
        say(f"{label:34}{ours:10.2f}{theirs:10.2f}{theirs / ours:8.1f}")
    say(f"direct median latency, ms: {found['direct_ms']:.2f}")


def main() -> None:
    """Measure and print."""
    own = str(Path(__file__).resolve())
    say(f"pressure before: {pressure()}")
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = port_of(stack.enter_context(process([own, "upstream", ""])))
        peer = stack.enter_context(process([own, "peer", f"http://127.0.0.1:{upstream}"]))
        peer_port = port_of(peer)
        settings = {"MOE_GATEWAY_HOME": str(home), "MOE_GATEWAY_PORT": "0"}
        gateway = stack.enter_context(process(["-m", "moe_gateway"], settings))
        gateway_port = asyncio.run(announce(home, upstream))
        report(uvloop.run(measure((gateway.pid, gateway_port), (peer.pid, peer_port), upstream)))
    say(f"pressure after:  {pressure()}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        serve_role(sys.argv[1], sys.argv[2])
    else:
        main()
