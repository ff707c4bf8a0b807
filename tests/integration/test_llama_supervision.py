"""The servers with real child processes that only play model server."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from clusterkit.clock import SystemClock
from clusterkit.config.catalogue import ExpertSpec, ModelSpec
from llama_expert.choose import FileFacts, Reason
from llama_expert.engines.engine import Launch
from llama_expert.model_servers import MAX_FAILED_RESTARTS, ModelServers, ServerOptions
from llama_expert.server_process import ModelDidNotLoadError, model_server

FAKE = Path(__file__).parents[1] / "servers" / "fake_model_server.py"


class HastyClock(SystemClock):
    """Sleeps a fiftieth of what it is told; everything else is real."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 50)


class FakeEngine:
    """Runs `fake_model_server.py`."""

    announces = True

    def command(self, launch: Launch) -> tuple[str, ...]:
        return (sys.executable, str(FAKE), str(launch.model_path))

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        return dict(inherited)


class Log:
    """What was logged, to be waited for."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()

    def take(self, _: Any, __: str, event: MutableMapping[str, Any]) -> Any:
        self._events.put_nowait(dict(event))
        raise structlog.DropEvent

    async def until(self, name: str, **fields: object) -> Mapping[str, Any]:
        async with asyncio.timeout(10):
            while True:
                event = await self._events.get()
                if event["event"] == name and all(event[key] == value for key, value in fields.items()):
                    return event


@pytest.fixture
def log() -> Iterator[Log]:
    made = Log()
    structlog.configure(processors=[made.take], cache_logger_on_first_use=False)
    yield made
    structlog.reset_defaults()


@dataclass
class Bench:
    """A folder of fake models and the servers over them."""

    folder: Path

    def model(self, name: str, behaviour: str) -> ModelSpec:
        (self.folder / f"{name}.gguf").write_text(behaviour)
        return ModelSpec(name=name, url="file:///x", filename=f"{name}.gguf", memory_mb=10)

    def facts(self, model: ModelSpec) -> FileFacts:
        path = self.folder / model.filename
        if not path.exists():
            return FileFacts(reason=Reason.MISSING, detail="not there")
        return FileFacts(str(path), 1)

    @asynccontextmanager
    async def supervised(
        self, *experts: ExpertSpec, load_timeout: float = 5.0
    ) -> AsyncIterator[ModelServers]:
        servers = ModelServers(
            experts,
            inspect=lambda models: {model: self.facts(model) for model in models},
            free_mb=lambda: 1000,
            options=options(self.folder, load_timeout),
            clock=HastyClock(),
        )
        task = asyncio.create_task(servers.run())
        try:
            yield servers
        finally:
            task.cancel()
            await asyncio.wait({task})


def options(folder: Path, load_timeout: float) -> ServerOptions:
    return ServerOptions(
        engine=FakeEngine(),
        environment={},
        key_file=folder / "key",
        threads=1,
        context=512,
        load_timeout=load_timeout,
    )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def pid_of(servers: ModelServers, expert: str) -> int:
    server = servers.state(expert).server
    assert server is not None
    return server.pid


@pytest.mark.req("MOD-05")
async def test_models_are_tried_in_order_until_one_loads(bench: Bench, log: Log) -> None:
    models = (bench.model("one", "broken"), bench.model("two", "broken"), bench.model("three", "ok"))
    async with bench.supervised(ExpertSpec("main", models)) as servers:
        await log.until("model_ready", model="three")
        state = servers.state("main")
        assert state.model == "three"
        assert [(one.model, one.reason) for one in state.refused] == [
            ("one", Reason.DID_NOT_LOAD),
            ("two", Reason.DID_NOT_LOAD),
        ]
        assert "the tensors are upside down" in state.refused[0].detail


async def test_a_model_that_is_not_ready_in_time_is_passed_over(bench: Bench, log: Log) -> None:
    models = (bench.model("slow", "mute"), bench.model("quick", "ok"))
    async with bench.supervised(ExpertSpec("main", models), load_timeout=1.0) as servers:
        await log.until("model_ready", model="quick")
        assert "not ready after 1 s" in servers.state("main").refused[0].detail


async def test_two_experts_with_the_same_file_have_one_server(bench: Bench, log: Log) -> None:
    shared = bench.model("shared", "ok")
    experts = (ExpertSpec("main", (shared,)), ExpertSpec("coding", (shared,)))
    async with bench.supervised(*experts) as servers:
        await log.until("model_ready")
        assert pid_of(servers, "main") == pid_of(servers, "coding")


async def test_a_killed_server_is_started_again(bench: Bench, log: Log) -> None:
    async with bench.supervised(ExpertSpec("main", (bench.model("m", "ok"),))) as servers:
        await log.until("model_ready")
        first = pid_of(servers, "main")
        os.kill(first, signal.SIGKILL)
        await log.until("model_server_ended", status=-signal.SIGKILL)
        assert not servers.state("main").ready
        await log.until("model_ready")
        assert pid_of(servers, "main") != first
        assert servers.state("main").restarts == 1


async def test_a_model_that_loads_no_more_is_given_up_after_three_attempts(bench: Bench, log: Log) -> None:
    models = (bench.model("first", "ok"), bench.model("second", "ok"))
    async with bench.supervised(ExpertSpec("main", models)) as servers:
        await log.until("model_ready", model="first")
        bench.model("first", "broken")
        os.kill(pid_of(servers, "main"), signal.SIGKILL)
        for attempt in range(1, MAX_FAILED_RESTARTS + 1):
            await log.until("model_did_not_load", model="first", attempt=attempt)
        await log.until("model_ready", model="second")
        assert servers.state("main").model == "second"


async def test_an_expert_without_a_model_gets_one_when_it_appears_and_others_keep_theirs(
    bench: Bench, log: Log
) -> None:
    present, later = bench.model("present", "ok"), bench.model("later", "ok")
    (bench.folder / later.filename).unlink()
    async with bench.supervised(ExpertSpec("main", (present,)), ExpertSpec("late", (later,))) as servers:
        await log.until("model_ready", model="present")
        assert "not there" in servers.state("late").detail
        kept = pid_of(servers, "main")
        bench.model("later", "broken")
        await log.until("model_did_not_load", model="later")
        bench.model("later", "ok")
        await log.until("model_ready", model="later")
        assert servers.state("late").ready
        assert pid_of(servers, "main") == kept


async def test_no_server_is_left_when_supervision_ends(bench: Bench, log: Log) -> None:
    async with bench.supervised(ExpertSpec("main", (bench.model("m", "ok"),))) as servers:
        await log.until("model_ready")
        pid = pid_of(servers, "main")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_program_that_does_not_exist_is_a_model_that_does_not_load(
    bench: Bench, launch_of: Callable[[ModelSpec], Launch]
) -> None:
    class NoEngine(FakeEngine):
        def command(self, launch: Launch) -> tuple[str, ...]:
            return ("/no/such/program",)

    started = model_server(
        NoEngine(),
        launch_of(bench.model("m", "ok")),
        environment={},
        load_timeout=5,
        clock=SystemClock(),
    )
    with pytest.raises(ModelDidNotLoadError, match="/no/such/program"):
        async with started:
            pass


@pytest.fixture
def launch_of(tmp_path: Path) -> Callable[[ModelSpec], Launch]:
    def make(model: ModelSpec) -> Launch:
        path = tmp_path / model.filename
        key_file = tmp_path / "key"
        return Launch(
            model_path=path,
            alias=model.name,
            context=512,
            threads=1,
            repeat_penalty=1.0,
            port=0,
            key_file=key_file,
        )

    return make
