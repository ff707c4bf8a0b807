"""Fakes for tests, shipped so that plug-ins can use them too.

Each passes the same contract tests as the real thing (`tests/contract`). The scripted model is a real
HTTP process: `python -m clusterkit.testing SCRIPT.json` answers OpenAI chat requests by script and can
stall, fail, cut a stream in half and call tools.
"""

import asyncio
import heapq
import itertools
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict

from clusterkit.clock import SystemClock
from clusterkit.config.settings import ServiceSettings
from clusterkit.http.listener import HttpServer, listen
from clusterkit.http.openai_wire import DONE, chunk, completion, error_body, sse, usage
from clusterkit.ports.jobs import JobError, JobSpec, JobState, JobStatus
from clusterkit.ports.registry import Instance


class FakeClock:
    """A clock that stands still until it is advanced."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        """Begin at `start`."""
        self._now, self._elapsed = start, 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """See `Clock.now`."""
        return self._now + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`; ends when the clock is advanced far enough."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), woken))
        await woken

    @property
    def sleepers(self) -> int:
        """How many tasks sleep on this clock."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`, waking sleepers in order and letting each run on."""
        target = self._elapsed + seconds
        await _let_others_run()
        while self._sleepers and self._sleepers[0][0] <= target:
            self._elapsed, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
            await _let_others_run()
        self._elapsed = target


async def _let_others_run() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@dataclass
class _Announced:
    instance: Instance
    ttl: float
    due: float


class FakeRegistry:
    """`Registry` in memory. `fail_next` makes the next call raise, once."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        """Deadlines are measured on `clock`."""
        self._clock = clock or FakeClock()
        self._announced: dict[str, _Announced] = {}
        self._index = 1
        self._changed = asyncio.Event()
        self.fail_next: Exception | None = None

    def _enter(self) -> None:
        failure, self.fail_next = self.fail_next, None
        if failure is not None:
            raise failure

    def _bump(self) -> None:
        self._index += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def register(self, instance: Instance, *, ttl: float) -> None:
        """See `Registry.register`."""
        self._enter()
        fresh = replace(instance, healthy=False, detail="no heartbeat yet", meta=dict(instance.meta))
        self._announced[instance.id] = _Announced(fresh, ttl, self._clock.monotonic() + ttl)
        self._bump()

    async def heartbeat(
        self, instance_id: str, *, healthy: bool, detail: str = "", meta: Mapping[str, str] | None = None
    ) -> None:
        """See `Registry.heartbeat`."""
        self._enter()
        announced = self._announced.get(instance_id)
        if announced is None:
            return
        before = announced.instance
        new_meta = before.meta if meta is None else dict(meta)
        announced.instance = replace(before, healthy=healthy, detail=detail, meta=new_meta)
        announced.due = self._clock.monotonic() + announced.ttl
        if announced.instance != before:
            self._bump()

    async def deregister(self, instance_id: str) -> None:
        """See `Registry.deregister`."""
        self._enter()
        if self._announced.pop(instance_id, None) is not None:
            self._bump()

    async def instances(self, service: str | None = None) -> tuple[Instance, ...]:
        """See `Registry.instances`."""
        self._enter()
        self._expire()
        present = [announced.instance for announced in self._announced.values()]
        wanted = [instance for instance in present if service is None or instance.service == service]
        return tuple(sorted(wanted, key=lambda instance: (instance.service, instance.id)))

    async def wait_for_change(self, index: int, *, timeout: float) -> int:
        """See `Registry.wait_for_change`."""
        self._enter()
        until = self._clock.monotonic() + timeout
        while True:
            self._expire()
            left = until - self._clock.monotonic()
            if index != self._index or left <= 0:
                return self._index
            await self._change_or_lapse(left)

    async def _change_or_lapse(self, left: float) -> None:
        due = [announced.due for announced in self._announced.values() if announced.instance.healthy]
        wait = min([left, *(at - self._clock.monotonic() + 0.001 for at in due)])
        changed = asyncio.create_task(self._changed.wait())
        slept = asyncio.create_task(self._clock.sleep(wait))
        try:
            await asyncio.wait({changed, slept}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            slept.cancel()

    def _expire(self) -> None:
        now = self._clock.monotonic()
        for announced in self._announced.values():
            if announced.instance.healthy and announced.due < now:
                announced.instance = replace(announced.instance, healthy=False, detail="heartbeat lapsed")
                self._bump()


@dataclass
class FakeJobs:
    """`JobRunner` that only remembers. `broken` names jobs whose start fails."""

    broken: set[str] = field(default_factory=set)
    specs: dict[str, JobSpec] = field(default_factory=dict)
    statuses: dict[str, JobStatus] = field(default_factory=dict)
    written: dict[str, list[str]] = field(default_factory=dict)
    stopped: Counter[str] = field(default_factory=Counter)  #: how often each was told to stop

    async def start(self, spec: JobSpec) -> None:
        """See `JobRunner.start`."""
        status = self.statuses.get(spec.name)
        if status is not None and status.state is not JobState.STOPPED:
            return
        if spec.name in self.broken:
            raise JobError(f"job {spec.name!r}: there is no program {spec.command[0]!r}")
        self.specs[spec.name] = spec
        pid = 1000 + len(self.specs)
        self.statuses[spec.name] = JobStatus(name=spec.name, state=JobState.RUNNING, pid=pid)

    async def stop(self, name: str) -> None:
        """See `JobRunner.stop`."""
        status = self._status(name)
        self.stopped[name] += 1
        self.statuses[name] = replace(status, state=JobState.STOPPED, pid=None, exit_code=0)

    async def list(self) -> tuple[JobStatus, ...]:
        """See `Jobs.list`."""
        return tuple(status for _, status in sorted(self.statuses.items()))

    async def logs(self, name: str, *, lines: int) -> tuple[str, ...]:
        """See `Jobs.logs`."""
        self._status(name)
        return tuple(self.written.get(name, [])[-lines:])

    def _status(self, name: str) -> JobStatus:
        if name not in self.statuses:
            raise JobError(f"there is no job {name!r} (known: {', '.join(sorted(self.statuses)) or 'none'})")
        return self.statuses[name]


class ScriptedAnswer(BaseModel):
    """One scripted answer. Without a field, that misbehaviour does not happen."""

    model_config = ConfigDict(extra="forbid")

    text: str = ""
    tool_calls: list[dict[str, Any]] = []  #: [{"name": …, "arguments": {…}}]
    status: int = 200  #: another status answers an error at once
    retry_after: int | None = None
    stall_seconds: float = 0.0  #: before the first byte
    gap_seconds: float = 0.0  #: between the pieces of a stream
    cut_after: int | None = None  #: close the connection after so many pieces of a stream


class ScriptedLlm:
    """A running scripted model."""

    def __init__(self, url: str) -> None:
        """Made by `scripted_llm`."""
        self.url = url  #: base URL without /v1
        self.address, _, port = url.removeprefix("http://").partition(":")
        self.port = int(port)

    def requests(self) -> list[dict[str, Any]]:
        """Everything asked so far: {"body": …, "headers": …, "finished": bool}."""
        answer: list[dict[str, Any]] = httpx.get(f"{self.url}/script/requests", timeout=10).json()
        return answer


@contextmanager
def scripted_llm(answers: Sequence[Mapping[str, Any] | ScriptedAnswer]) -> Iterator[ScriptedLlm]:
    """Run a scripted model that gives `answers` in order, the last one for ever after."""
    plain = [ScriptedAnswer.model_validate(dict(answer)).model_dump() for answer in answers]
    with TemporaryDirectory() as folder:
        script = Path(folder) / "script.json"
        script.write_text(json.dumps(plain))
        process = subprocess.Popen(
            [sys.executable, "-m", "clusterkit.testing", str(script)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            yield ScriptedLlm(json.loads(process.stdout.readline())["listening"])
        finally:
            process.kill()
            process.communicate()


def scripted_app(answers: Sequence[ScriptedAnswer]) -> FastAPI:
    """The application of a scripted model: OpenAI chat, `/health` and `/script/requests`."""
    app = FastAPI()
    asked: list[dict[str, Any]] = []

    @app.get("/health")
    async def get_health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/script/requests")
    async def get_requests() -> list[dict[str, Any]]:
        return asked

    @app.post("/{prefix:path}chat/completions")
    async def chat(request: Request) -> Response:
        body = await request.json()
        answer = answers[min(len(asked), len(answers) - 1)]
        entry: dict[str, Any] = {"body": body, "headers": dict(request.headers), "finished": False}
        asked.append(entry)
        await asyncio.sleep(answer.stall_seconds)
        if answer.status != 200:
            headers = {} if answer.retry_after is None else {"retry-after": str(answer.retry_after)}
            return JSONResponse(error_body("scripted failure", "server_error"), answer.status, headers)
        if body.get("stream"):
            return StreamingResponse(_stream(answer, body, entry), media_type="text/event-stream")
        entry["finished"] = True
        return JSONResponse(_whole(answer, body))

    return app


def _calls(answer: ScriptedAnswer) -> list[dict[str, Any]]:
    return [
        {
            "index": index,
            "id": f"call_{index}",
            "type": "function",
            "function": {"name": call["name"], "arguments": json.dumps(call.get("arguments", {}))},
        }
        for index, call in enumerate(answer.tool_calls)
    ]


def _whole(answer: ScriptedAnswer, body: Mapping[str, Any]) -> dict[str, Any]:
    whole = completion(
        id="chatcmpl-scripted",
        model=str(body.get("model")),
        created=_now(),
        text=answer.text,
        finish_reason="tool_calls" if answer.tool_calls else "stop",
        usage=usage(len(json.dumps(body)) // 4, len(answer.text.split())),
    )
    if answer.tool_calls:
        whole["choices"][0]["message"]["tool_calls"] = _calls(answer)
    return whole


def _now() -> int:
    return int(SystemClock().now().timestamp())


async def _stream(
    answer: ScriptedAnswer, body: Mapping[str, Any], entry: dict[str, Any]
) -> AsyncIterator[bytes]:
    shared: dict[str, Any] = {"id": "chatcmpl-scripted", "model": str(body.get("model")), "created": _now()}
    words = answer.text.split(" ") if answer.text else []
    pieces = [word if index == 0 else f" {word}" for index, word in enumerate(words)]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in pieces]
    if answer.tool_calls:
        deltas.append({"tool_calls": _calls(answer)})
    for number, delta in enumerate(deltas):
        if answer.cut_after is not None and number >= answer.cut_after:
            raise ConnectionAbortedError("scripted cut")
        yield sse(chunk(**shared, delta=delta))
        await asyncio.sleep(answer.gap_seconds)
    yield sse(chunk(**shared, delta={}, finish_reason="tool_calls" if answer.tool_calls else "stop"))
    options = body.get("stream_options") or {}
    if options.get("include_usage"):
        counted = usage(len(json.dumps(body)) // 4, len(answer.text.split()))
        yield sse(chunk(**shared, delta=None, usage=counted))
    entry["finished"] = True
    yield DONE


def _main(script: Path) -> None:
    answers = [ScriptedAnswer.model_validate(answer) for answer in json.loads(script.read_text())]
    opened = listen(ServiceSettings(), "", authenticated=False)
    port = opened.getsockname()[1]
    sys.stdout.write(json.dumps({"listening": f"http://127.0.0.1:{port}"}) + "\n")
    sys.stdout.flush()
    HttpServer(scripted_app(answers), grace_seconds=0).run(sockets=[opened])


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
