"""Requests over HTTP that have to wait for a model; the model servers are processes without one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from clusterkit.clock import SystemClock
from clusterkit.proxy.upstream import UpstreamPool
from clusterkit.telemetry.metrics import Metrics
from llama_expert.app import ExpertProxy, expert_app
from llama_expert.model_servers import ModelServers
from tests.servers.asgi_server import serving
from tests.servers.model_bench import Bench, Log

CHAT = "/experts/main/v1/chat/completions"
COMMENT = ": m is starting, 1 requests wait"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@asynccontextmanager
async def client_of(servers: ModelServers) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service over `servers`; streams that wait get a comment every fifth of a second."""
    metrics, pool = Metrics(), UpstreamPool()
    proxy = ExpertProxy(
        expert_app(servers, metrics),
        servers,
        pool=pool,
        key="the-key",
        metrics=metrics,
        clock=SystemClock(),
        new_id=lambda: "1",
        silent_seconds=0.2,
    )
    async with serving(proxy) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        yield client
    await pool.close()


async def test_a_request_that_waits_is_answered_as_if_it_had_not(bench: Bench, log: Log) -> None:
    async with bench.supervised(main=(bench.model("m", "slow"),)) as servers, client_of(servers) as client:
        asking = asyncio.ensure_future(client.post(CHAT, json={}))
        await log.until("model_server_started")
        bench.go("m")
        answer = await asking
        assert (answer.status_code, answer.json()["behaviour"]) == (200, "slow")


async def test_a_stream_that_waits_shows_why_and_then_the_answer(bench: Bench, log: Log) -> None:
    async with (
        bench.supervised(main=(bench.model("m", "slow"),)) as servers,
        client_of(servers) as client,
        client.stream("POST", CHAT, json={"stream": True}) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        assert await anext(lines) == COMMENT
        bench.go("m")
        rest = [line async for line in lines if line and not line.startswith(":")]
        assert [json.loads(line.removeprefix("data: "))["behaviour"] for line in rest] == ["slow"]


async def test_a_wait_that_leads_to_nothing_is_a_503_and_in_a_stream_its_last_event(
    bench: Bench, log: Log
) -> None:
    models = (bench.model("m", "slow"),)
    async with bench.supervised(main=models, wait_timeout=0.9) as servers, client_of(servers) as client:
        answer = await client.post(CHAT, json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "expert_not_ready")
        assert int(answer.headers["retry-after"]) > 0
        assert "not ready within 0.9 s: m is starting" in answer.json()["error"]["message"]
        streamed = await client.post(CHAT, json={"stream": True})
        first, *_, last = (line for line in streamed.text.splitlines() if line)
        assert first == COMMENT
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "expert_not_ready"


async def test_a_client_that_leaves_while_it_waits_is_noticed(bench: Bench, log: Log) -> None:
    async with bench.supervised(main=(bench.model("m", "slow"),)) as servers, client_of(servers) as client:
        async with client.stream("POST", CHAT, json={"stream": True}) as answer:
            assert await anext(answer.aiter_lines()) == COMMENT
            assert servers.state("main").waiting == 1
        await log.until("expert_request", status=499)
        assert servers.state("main").waiting == 0


async def test_a_person_is_told_what_is_wrong_with_a_command(bench: Bench, log: Log) -> None:
    async with bench.supervised(main=(bench.model("m", "ok"),)) as servers, client_of(servers) as client:
        await log.until("expert_served")
        assert (await client.post("/experts/nobody/load")).json()["error"]["code"] == "unknown_expert"
        assert (await client.post("/experts/main/unload")).json() == {"expert": "main", "shared_with": []}
        refreshed = (await client.post("/experts/refresh")).json()["experts"]
        assert [one["expert"] for one in refreshed] == ["main"]
