"""The servers with real child processes that only play model server."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from clusterkit.clock import SystemClock
from clusterkit.config.catalogue import ModelSpec
from llama_expert.choose import Reason
from llama_expert.engines.engine import Launch
from llama_expert.kept_server import MAX_FAILED_RESTARTS
from llama_expert.server_process import ModelDidNotLoadError, model_server
from tests.servers.model_bench import Bench, FakeEngine, Log, pid_of


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.req("MOD-05")
async def test_models_are_tried_in_order_until_one_loads(bench: Bench, log: Log) -> None:
    models = (bench.model("one", "broken"), bench.model("two", "broken"), bench.model("three", "ok"))
    async with bench.supervised(main=models) as servers:
        await log.until("expert_served", model="three")
        state = servers.state("main")
        assert state.model == "three"
        assert [(one.model, one.reason) for one in state.refused] == [
            ("one", Reason.DID_NOT_LOAD),
            ("two", Reason.DID_NOT_LOAD),
        ]
        assert "the tensors are upside down" in state.refused[0].detail


async def test_a_model_that_is_not_ready_in_time_is_passed_over(bench: Bench, log: Log) -> None:
    models = (bench.model("slow", "mute"), bench.model("quick", "ok"))
    async with bench.supervised(main=models, load_timeout=1.0) as servers:
        await log.until("expert_served", model="quick")
        assert "not ready after 1 s" in servers.state("main").refused[0].detail


async def test_two_experts_with_the_same_file_have_one_server(bench: Bench, log: Log) -> None:
    shared = bench.model("shared", "ok")
    async with bench.supervised(main=(shared,), coding=(shared,)) as servers:
        await log.until("expert_served", expert="coding")
        assert pid_of(servers, "main") == pid_of(servers, "coding")


async def test_a_killed_server_is_started_again(bench: Bench, log: Log) -> None:
    async with bench.supervised(main=(bench.model("m", "ok"),)) as servers:
        await log.until("expert_served")
        first = pid_of(servers, "main")
        os.kill(first, signal.SIGKILL)
        await log.until("model_server_ended", status=-signal.SIGKILL)
        assert not servers.state("main").ready
        await log.until("model_ready")
        assert pid_of(servers, "main") != first
        assert servers.state("main").restarts == 1


async def test_a_model_that_loads_no_more_is_given_up_after_three_attempts(bench: Bench, log: Log) -> None:
    models = (bench.model("first", "ok"), bench.model("second", "ok"))
    async with bench.supervised(main=models) as servers:
        await log.until("expert_served", model="first")
        bench.model("first", "broken")
        os.kill(pid_of(servers, "main"), signal.SIGKILL)
        for attempt in range(1, MAX_FAILED_RESTARTS + 1):
            await log.until("model_did_not_load", model="first", attempt=attempt)
        await log.until("expert_served", model="second")
        assert servers.state("main").model == "second"


async def test_an_expert_without_a_model_gets_one_when_it_appears_and_others_keep_theirs(
    bench: Bench, log: Log
) -> None:
    present, later = bench.model("present", "ok"), bench.model("later", "ok")
    (bench.folder / later.filename).unlink()
    async with bench.supervised(main=(present,), late=(later,)) as servers:
        await log.until("expert_served", model="present")
        assert "not there" in servers.state("late").detail
        kept = pid_of(servers, "main")
        bench.model("later", "broken")
        await log.until("model_did_not_load", model="later")
        bench.model("later", "ok")
        await log.until("expert_served", model="later")
        assert servers.state("late").ready
        assert pid_of(servers, "main") == kept


async def test_no_server_is_left_when_supervision_ends(bench: Bench, log: Log) -> None:
    async with bench.supervised(main=(bench.model("m", "ok"),)) as servers:
        await log.until("expert_served")
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
