"""What our client makes of Consul's answers as a real agent (1.22.5) gave them, and what it asks for."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clusterkit.clock import SystemClock
from clusterkit.cluster.agent_http import AgentAccess, Wait
from clusterkit.cluster.consul import Consul
from clusterkit.cluster.consul_registry import ConsulRegistry
from clusterkit.ports.registry import Instance
from tests.servers.raw_upstream import Exchange, raw_upstream

RECORDED = json.loads((Path(__file__).parents[3] / "data/consul/health_service.json").read_text())
INDEX = {"content-type": "application/json", "x-consul-index": "18", "x-consul-knownleader": "true"}


def answer_with(**statuses: str | None) -> list[dict[str, Any]]:
    """The recorded answer with other words of its checks; a check of None has not been made yet."""
    (entry,) = RECORDED
    checks = [
        {**check, "Status": statuses[name]}
        for check in entry["Checks"]
        if statuses[name := "host" if check["CheckID"] == "serfHealth" else "service"] is not None
    ]
    return [{**entry, "Checks": checks}]


@dataclass
class FakeConsul:
    """Answers every path of `answers`, and remembers what it was asked."""

    answers: dict[str, Any]
    url: str = ""
    asked: list[Exchange] = field(default_factory=list)

    async def __call__(self, exchange: Exchange) -> None:
        self.asked.append(exchange)
        body = self.answers[exchange.target.partition("?")[0]]
        await exchange.answer(json.dumps(body).encode(), headers=INDEX)


@asynccontextmanager
async def fake_consul(answers: dict[str, Any]) -> AsyncIterator[FakeConsul]:
    fake = FakeConsul(answers)
    async with raw_upstream(fake) as server:
        fake.url = f"http://127.0.0.1:{server.port}"
        yield fake


async def looked_up(answer: list[dict[str, Any]]) -> Instance:
    """The only instance of `expert-main` as the registry tells of it."""
    async with (
        fake_consul({"/v1/health/service/expert-main": answer}) as fake,
        ConsulRegistry(AgentAccess(url=fake.url), SystemClock()) as registry,
    ):
        (instance,) = await registry.instances("expert-main")
    return instance


@pytest.mark.req("CLU-04")
@pytest.mark.parametrize(
    ("host", "service", "healthy", "detail"),
    [
        ("passing", "passing", True, ""),
        ("passing", "warning", True, ""),
        ("passing", "critical", False, "503"),
        ("passing", None, False, "no health check yet"),
        ("critical", "passing", False, "host here: Agent alive and reachable"),
        (None, "passing", True, ""),
    ],
)
async def test_an_instance_is_healthy_when_its_own_check_passes_and_that_of_its_host_does_not_fail(
    host: str | None, service: str | None, healthy: bool, detail: str
) -> None:
    instance = await looked_up(answer_with(host=host, service=service))
    assert (instance.healthy, instance.detail) == (healthy, detail)


@pytest.mark.req("CLU-04")
async def test_an_instance_is_told_of_as_it_was_registered() -> None:
    assert await looked_up(RECORDED) == Instance(
        service="expert-main",
        id="_nomad-task-1-expert-main",
        address="192.0.2.21",
        port=24000,
        base_path="/experts/main",
        healthy=False,
        detail="503",
        meta={"model": "tiny"},
    )


@pytest.mark.req("CLU-04")
async def test_keys_are_read_and_written_as_consul_keeps_them() -> None:
    text = "grüß dich"
    value = base64.b64encode(text.encode()).decode()
    kept = [
        {"LockIndex": 0, "Key": "hearth/x", "Flags": 0, "Value": value, "CreateIndex": 20, "ModifyIndex": 21}
    ]
    async with fake_consul({"/v1/kv/hearth/x": kept}) as fake, Consul(AgentAccess(url=fake.url)) as consul:
        entry = await consul.kv_get("hearth/x")
        assert entry is not None
        assert (entry.value, entry.modify_index) == (text, 21)
        fake.answers["/v1/kv/hearth/x"] = False
        assert not await consul.kv_put("hearth/x", text, cas=20)
    read, written = fake.asked
    assert (read.method, read.target) == ("GET", "/v1/kv/hearth/x")
    assert (written.method, written.target, written.body.decode()) == ("PUT", "/v1/kv/hearth/x?cas=20", text)


@pytest.mark.req("CLU-04")
async def test_a_watch_is_a_blocking_query_for_what_is_newer_than_the_index_it_was_told() -> None:
    answers = {"/v1/catalog/services": {"expert-main": ["hearth"]}, "/v1/health/state/any": []}
    async with (
        fake_consul(answers) as fake,
        ConsulRegistry(AgentAccess(url=fake.url), SystemClock()) as registry,
        asyncio.timeout(10),
    ):
        assert await registry.wait_for_change(0, timeout=30) == 18
        assert not [asked for asked in fake.asked if "index=" in asked.target]
        begun = len(fake.asked)
        assert await registry.wait_for_change(18, timeout=30) == 18
        blocking = {asked.target.partition("?")[0]: asked.target for asked in fake.asked[begun:]}
        async with Consul(AgentAccess(url=fake.url)) as consul:
            reading = await consul.services(wait=Wait(index=18, seconds=60))
    assert set(blocking) == set(answers)
    assert all("index=18" in target and "wait=30000ms" in target for target in blocking.values())
    assert (reading.index, reading.value) == (18, {"expert-main": ("hearth",)})
    assert "index=18&wait=60000ms" in fake.asked[-1].target
