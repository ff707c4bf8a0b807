"""One model server as a child process: start it, know when it is ready, end it for certain."""

import asyncio
import os
import signal
import socket
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import structlog

from clusterkit.clock import Clock
from clusterkit.errors import HearthError
from llama_expert.engines.engine import Launch, ModelEngine, announced_url

POLL_SECONDS = 0.05  #: between two looks at a server that is still loading
HEALTH_TIMEOUT_SECONDS = 2.0
STOP_SECONDS = 3.0  #: between SIGTERM and SIGKILL
DRAIN_SECONDS = 1.0  #: for what a dead server has still to say
KEPT_LINES = 12  #: of its log, for the message when it does not load
MAX_LINE_BYTES = 16 * 1024
MAX_SHOWN = 200  #: characters of a refusal that are repeated
#: The question whose answer proves that a server works. One token is enough, and costs little.
PROOF = {"model": "proof", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 1}

log = structlog.get_logger()


class ModelDidNotLoadError(HearthError):
    """The model server ended, or was not ready in time; the message has its last words."""

    code = "model_did_not_load"


@dataclass(frozen=True)
class ModelServer:
    """A model server that is ready."""

    host: str
    port: int
    pid: int
    process: asyncio.subprocess.Process

    async def ended(self) -> int:
        """Wait for its end; returns the exit status, negative for the signal that ended it."""
        return await self.process.wait()


@asynccontextmanager
async def model_server(
    engine: ModelEngine, launch: Launch, *, environment: Mapping[str, str], load_timeout: float, clock: Clock
) -> AsyncIterator[ModelServer]:
    """Start a model server and wait until it has proved to answer; end it on the way out.

    Raises `ModelDidNotLoadError`. The kernel kills the server when this process dies, however it dies.
    """
    process = await _spawn(engine, launch, environment)
    output = _Output(launch.alias)
    reading = asyncio.create_task(output.read(process.stdout), name=f"log of {launch.alias}")
    try:
        try:
            async with asyncio.timeout(load_timeout):
                url = await _until_ready(engine, launch, process, output, clock)
                if url is not None:
                    await _prove(url, launch, process, output)
        except TimeoutError as error:
            problem = f"{launch.alias} was not ready after {load_timeout:g} s"
            raise ModelDidNotLoadError(output.after(problem)) from error
        if url is None:
            await asyncio.wait({reading}, timeout=DRAIN_SECONDS)
            raise ModelDidNotLoadError(output.after(f"{launch.alias}: the model server {_end_of(process)}"))
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        yield ModelServer(parts.hostname, parts.port, process.pid, process)
    finally:
        await _end(process)
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        return int(opened.getsockname()[1])


async def _spawn(
    engine: ModelEngine, launch: Launch, environment: Mapping[str, str]
) -> asyncio.subprocess.Process:
    try:
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "--"),
            *engine.command(launch),
            env=engine.environment(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        problem = f"{launch.alias}: its server cannot be started: {error.filename or ''} {error.strerror}"
        raise ModelDidNotLoadError(problem) from error
    log.info("model_server_started", model=launch.alias, pid=process.pid)
    return process


async def _until_ready(
    engine: ModelEngine, launch: Launch, process: asyncio.subprocess.Process, output: "_Output", clock: Clock
) -> str | None:
    """The server's URL once it is ready; None when it ended before that."""
    async with httpx.AsyncClient(timeout=HEALTH_TIMEOUT_SECONDS, trust_env=False) as client:
        while process.returncode is None:
            url = output.announced if engine.announces else f"http://127.0.0.1:{launch.port}"
            if url is not None and await _is_ready(client, url):
                return url
            await clock.sleep(POLL_SECONDS)
    return None


async def _prove(url: str, launch: Launch, process: asyncio.subprocess.Process, output: "_Output") -> None:
    """Ask for one token: a model that loads may still have no chat template, or die of its first batch."""
    key = await asyncio.to_thread(launch.key_file.read_text, encoding="ascii")
    headers = {"authorization": f"Bearer {key.strip()}"}
    # The load's own deadline is around this.
    async with httpx.AsyncClient(timeout=None, trust_env=False, headers=headers) as client:
        try:
            answer = await client.post(f"{url}/v1/chat/completions", json=PROOF)
        except httpx.TransportError as error:
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), DRAIN_SECONDS)
            problem = f"{launch.alias}: it loaded, but its server {_end_of(process)} at the first question"
            raise ModelDidNotLoadError(output.after(problem)) from error
    if answer.status_code != httpx.codes.OK:
        problem = f"{launch.alias}: it loaded, but answered the first question with {answer.status_code}"
        raise ModelDidNotLoadError(output.after(f"{problem}: {answer.text[:MAX_SHOWN]}"))


def _end_of(process: asyncio.subprocess.Process) -> str:
    status = process.returncode
    if status is None:
        return "closed the connection"
    if status == -signal.SIGKILL:
        return "was killed (signal 9), as happens when memory runs out"
    return f"ended with status {status}"


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/health")).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False  # not listening yet


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        _signal_group(process.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
    _signal_group(process.pid, signal.SIGKILL)  # also what the server itself may have started
    await process.wait()


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, number)


class _Output:
    """What a model server prints: re-emitted into our log, the last lines kept."""

    def __init__(self, alias: str) -> None:
        self.announced: str | None = None
        self._log = log.bind(model=alias)
        self._last: deque[str] = deque(maxlen=KEPT_LINES)

    async def read(self, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None
        held = b""
        while data := await stream.read(MAX_LINE_BYTES):
            *lines, held = (held + data).split(b"\n")
            held = held[-MAX_LINE_BYTES:]
            for line in lines:
                self._take(line.decode("utf-8", "replace").rstrip())
        self._take(held.decode("utf-8", "replace").rstrip())

    def after(self, problem: str) -> str:
        """`problem`, followed by the last lines."""
        return f"{problem}; it said: {' | '.join(self._last)}" if self._last else problem

    def _take(self, line: str) -> None:
        url = announced_url(line)
        if url is not None:
            self.announced = url
        elif line:
            self._last.append(line)
            self._log.debug("model_server_says", line=line)
