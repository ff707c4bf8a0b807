"""Models change, come and go under running requests; the servers are real processes without a model."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from clusterkit.errors import ConfigFileError
from llama_expert.choose import Reason
from llama_expert.lists import Lists, MemoryRules
from llama_expert.model_servers import ModelServers, PinnedError
from llama_expert.waiting_line import ExpertNotReadyError
from tests.servers.model_bench import CHANGE_SECONDS, Bench, Log, pid_of


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@asynccontextmanager
async def request_to(servers: ModelServers, expert: str) -> AsyncIterator[int]:
    """A request that runs for as long as the block; gives the process that serves it."""
    lease = servers.try_acquire(expert) or await servers.acquire(expert)
    try:
        yield lease.server.pid
    finally:
        lease.release()


async def gone(pid: int) -> None:
    """Returns once the process has ended."""
    watch = os.pidfd_open(pid)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(watch, ended.set)
    try:
        async with asyncio.timeout(CHANGE_SECONDS):
            await ended.wait()
    finally:
        asyncio.get_running_loop().remove_reader(watch)
        os.close(watch)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_the_old_model_answers_until_the_new_one_has_loaded_and_then_ends(
    bench: Bench, log: Log
) -> None:
    old = bench.model("old", "ok")
    async with bench.supervised(main=(old,)) as servers:
        await log.until("expert_served", model="old")
        before = pid_of(servers, "main")
        bench.experts["main"] = (bench.model("new", "slow"), old)
        await servers.refresh()
        async with request_to(servers, "main") as pid:
            assert pid == before
        assert servers.state("main").detail == "new is loading, old answers until then"
        bench.go("new")
        await log.until("expert_served", model="new")
        await gone(before)
        async with request_to(servers, "main") as pid:
            assert pid not in (before, 0)
        assert (servers.state("main").model, servers.state("main").detail) == ("new", "")


@pytest.mark.req("BEY-18")
async def test_a_request_that_runs_on_the_old_model_is_not_cut(bench: Bench, log: Log) -> None:
    old = bench.model("old", "ok")
    async with bench.supervised(main=(old,)) as servers:
        await log.until("expert_served", model="old")
        async with request_to(servers, "main") as before:
            bench.experts["main"] = (bench.model("new", "ok"), old)
            await servers.refresh()
            await log.until("expert_served", model="new")
            async with request_to(servers, "main") as after:
                assert after != before
            ending = asyncio.ensure_future(gone(before))
            done, _ = await asyncio.wait({ending}, timeout=0.5)
            assert not done
        await ending


@pytest.mark.parametrize("behaviour", ["broken", "speechless", "fatal", "mute"])
async def test_the_old_model_stays_when_the_new_one_does_not_come_to_answer(
    bench: Bench, log: Log, behaviour: str
) -> None:
    old = bench.model("old", "ok")
    async with bench.supervised(main=(old,), load_timeout=2.0) as servers:
        await log.until("expert_served", model="old")
        before = pid_of(servers, "main")
        bench.experts["main"] = (bench.model("new", behaviour), old)
        await servers.refresh()
        await log.until("model_chosen", model="old")
        state = servers.state("main")
        assert (state.model, state.ready, pid_of(servers, "main")) == ("old", True, before)
        assert [(one.model, one.reason) for one in state.refused] == [("new", Reason.DID_NOT_LOAD)]
        assert state.detail.startswith("new: new")


async def test_the_old_model_stays_when_the_new_server_is_killed_while_it_loads(
    bench: Bench, log: Log
) -> None:
    old = bench.model("old", "ok")
    async with bench.supervised(main=(old,)) as servers:
        await log.until("expert_served", model="old")
        before = pid_of(servers, "main")
        bench.experts["main"] = (bench.model("new", "slow"), old)
        await servers.refresh()
        os.kill((await log.until("model_server_started", model="new"))["pid"], signal.SIGKILL)
        await log.until("model_chosen", model="old")
        assert pid_of(servers, "main") == before
        assert "killed" in servers.state("main").detail


async def test_only_the_server_whose_file_changes_is_touched(bench: Bench, log: Log) -> None:
    main, coding = bench.model("m", "ok"), bench.model("c", "ok")
    async with bench.supervised(main=(main,), coding=(coding,)) as servers:
        for _ in ("main", "coding"):
            await log.until("expert_served")
        before = {expert: pid_of(servers, expert) for expert in ("main", "coding")}
        bench.model("m", "ok")
        await servers.refresh()
        await log.until("expert_served", expert="main")
        assert pid_of(servers, "main") != before["main"]
        assert pid_of(servers, "coding") == before["coding"]


async def test_a_changed_file_is_noticed_without_being_told(bench: Bench, log: Log) -> None:
    async with bench.supervised(main=(bench.model("m", "ok"),)) as servers:
        await log.until("expert_served")
        before = pid_of(servers, "main")
        bench.model("m", "ok")
        await log.until("expert_served")
        assert pid_of(servers, "main") != before


async def test_the_old_model_stays_when_its_file_is_replaced_by_a_broken_one(bench: Bench, log: Log) -> None:
    main, last = bench.model("m", "ok"), bench.model("last", "ok")
    async with bench.supervised(main=(main, last)) as servers:
        await log.until("expert_served", model="m")
        before = pid_of(servers, "main")
        bench.model("m", "broken")
        await servers.refresh()
        await log.until("model_did_not_load", model="m")
        await log.until("model_refused", model="m")
        assert (servers.state("main").model, pid_of(servers, "main")) == ("m", before)
        assert "upside down" in servers.state("main").detail


@pytest.mark.req("BEY-18")
async def test_a_model_that_leaves_the_list_is_followed_by_the_next(bench: Bench, log: Log) -> None:
    own, last = bench.model("own", "ok"), bench.model("last", "ok")
    async with bench.supervised(main=(own, last)) as servers:
        await log.until("expert_served", model="own")
        before = pid_of(servers, "main")
        bench.experts["main"] = (last,)
        await servers.refresh()
        await log.until("expert_served", model="last")
        await gone(before)


async def test_where_memory_is_short_requests_wait_for_the_change_and_running_ones_end_by_themselves(
    bench: Bench, log: Log
) -> None:
    bench.free_mb = 100
    old = bench.model("old", "ok", 60)
    async with bench.supervised(main=(old,)) as servers:
        await log.until("expert_served", model="old")
        async with request_to(servers, "main") as before:
            bench.experts["main"] = (bench.model("new", "ok", 70), old)
            await servers.refresh()
            waiting = asyncio.ensure_future(servers.acquire("main"))
            done, _ = await asyncio.wait({waiting}, timeout=0.3)
            assert not done
            assert alive(before)
            state = servers.state("main")
            assert (state.ready, state.waits) == (True, True)
            assert state.detail == "new waits until others leave memory, 1 requests wait"
        await gone(before)
        lease = await waiting
        assert lease.server.pid == pid_of(servers, "main")
        assert servers.state("main").model == "new"


async def test_where_memory_is_short_the_old_model_comes_back_when_the_new_one_is_broken(
    bench: Bench, log: Log
) -> None:
    bench.free_mb = 100
    old = bench.model("old", "ok", 60)
    async with bench.supervised(main=(old,)) as servers:
        await log.until("expert_served", model="old")
        bench.experts["main"] = (bench.model("new", "broken", 70), old)
        await servers.refresh()
        async with request_to(servers, "main"):
            pass
        await log.until("model_did_not_load", model="new")
        await log.until("expert_served", model="old")
        assert "upside down" in servers.state("main").detail
        async with request_to(servers, "main") as pid:
            assert alive(pid)


async def test_a_request_waits_while_its_model_loads_and_one_that_leaves_holds_up_nobody(
    bench: Bench, log: Log
) -> None:
    async with bench.supervised(main=(bench.model("m", "slow"),)) as servers:
        leaving, staying = (asyncio.ensure_future(servers.acquire("main")) for _ in range(2))
        await log.until("model_chosen")
        leaving.cancel()
        await asyncio.wait({leaving})
        bench.go("m")
        lease = await staying
        assert servers.state("main").waiting == 0
        lease.release()


async def test_a_request_does_not_wait_for_ever_and_is_told_why_it_did(bench: Bench, log: Log) -> None:
    async with bench.supervised(main=(bench.model("m", "slow"),), wait_timeout=1.0) as servers:
        with pytest.raises(ExpertNotReadyError, match=r"not ready within 1 s: m is starting"):
            await servers.acquire("main")
        assert servers.state("main").waiting == 0


async def test_a_request_to_an_expert_without_a_usable_model_does_not_wait(bench: Bench, log: Log) -> None:
    async with bench.supervised(main=(bench.model("m", "broken"),)) as servers:
        with pytest.raises(ExpertNotReadyError, match="upside down"):
            await servers.acquire("main")


async def test_lists_that_cannot_be_read_change_nothing(bench: Bench, log: Log) -> None:
    class Malformed(Bench):
        def lists(self) -> Lists:
            if self.experts.get("broken"):
                raise ConfigFileError("hearth.toml", 1, 1, "malformed TOML")
            return super().lists()

    malformed = Malformed(bench.folder)
    model = bench.model("m", "ok")
    async with malformed.supervised(main=(model,)) as servers:
        await log.until("expert_served")
        before = pid_of(servers, "main")
        malformed.experts["broken"] = (model,)
        with pytest.raises(ConfigFileError):
            await servers.refresh()
        await log.until("lists_unreadable")
        assert pid_of(servers, "main") == before


IN_TURN = MemoryRules(in_turn=True, idle_seconds=None)


async def test_models_that_do_not_fit_together_take_turns(bench: Bench, log: Log) -> None:
    bench.free_mb, bench.memory = 100, IN_TURN
    main, coding = bench.model("m", "ok", 60), bench.model("c", "ok", 70)
    async with bench.supervised(main=(main,), coding=(coding,)) as servers:
        await log.until("expert_served", expert="main")
        first = pid_of(servers, "main")
        assert servers.state("coding").ready
        assert servers.state("coding").detail == "c is loaded when it is asked for"
        async with request_to(servers, "coding") as pid:
            assert not alive(first)
            waiting = asyncio.ensure_future(servers.acquire("main"))
            done, _ = await asyncio.wait({waiting}, timeout=0.3)
            assert not done
            assert alive(pid)
        (await waiting).release()
        assert not servers.state("coding").server


async def test_a_pinned_model_stays_and_is_not_unloaded(bench: Bench, log: Log) -> None:
    bench.free_mb = 100
    bench.memory = replace(IN_TURN, pinned=frozenset({"main"}))
    main, coding, math = (bench.model(name, "ok", 40) for name in ("m", "c", "x"))
    async with bench.supervised(main=(main,), coding=(coding,), math=(math,)) as servers:
        await log.until("expert_served", expert="main")
        pinned = pid_of(servers, "main")
        for expert in ("coding", "math", "coding"):
            async with request_to(servers, expert):
                assert pid_of(servers, "main") == pinned
        with pytest.raises(PinnedError, match="main is pinned"):
            servers.unload("main")


async def test_a_model_leaves_when_nobody_uses_it(bench: Bench, log: Log) -> None:
    bench.memory = replace(IN_TURN, idle_seconds=1.0)
    async with bench.supervised(main=(bench.model("m", "ok"),)) as servers:
        await log.until("expert_served")
        before = pid_of(servers, "main")
        await gone(before)
        async with request_to(servers, "main") as pid:
            assert pid != before


async def test_a_model_is_unloaded_and_loaded_when_a_person_says_so(bench: Bench, log: Log) -> None:
    shared = bench.model("m", "ok")
    async with bench.supervised(main=(shared,), coding=(shared,)) as servers:
        await log.until("expert_served", expert="coding")
        before = pid_of(servers, "main")
        async with request_to(servers, "main"):
            assert servers.unload("main") == ("main", "coding")
            await asyncio.sleep(0)
            assert alive(before)
        await gone(before)
        assert servers.state("coding").state == "unloaded"
        servers.load("main")
        await log.until("expert_served", expert="coding")


async def test_what_did_not_load_is_tried_again_when_a_person_says_so(bench: Bench, log: Log) -> None:
    old, new = bench.model("old", "ok"), bench.model("new", "slow")
    async with bench.supervised(main=(new, old), load_timeout=1.5) as servers:
        await log.until("expert_served", model="old")
        bench.go("new")
        servers.load("main")
        await log.until("expert_served", model="new")
