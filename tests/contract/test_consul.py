"""Our client of Consul against a real agent, with py-consul as an independent reader."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import consul as py_consul
import httpx
import pytest

from clusterkit.clock import SystemClock
from clusterkit.cluster.agent_http import (
    AgentAccess,
    NotFoundError,
    RefusedError,
    RejectedError,
    UnreachableError,
    Wait,
)
from clusterkit.cluster.consul import CheckStatus, Consul
from clusterkit.cluster.consul_registry import ConsulRegistry
from clusterkit.ports.registry import Instance
from clusterkit.testing import FakeClock
from tests.integration.waiting import eventually
from tests.servers.agents import RunningAgent, consul_agent
from tests.servers.raw_upstream import Exchange, raw_upstream

MANAGEMENT = "5b1f3a52-1d1c-4d6a-9c8e-0d5a3f1e7a01"
EXPERT = Instance(
    service="expert-main", id="e", address="127.0.0.1", port=4000, base_path="/experts/main", meta={"a": "b"}
)


@pytest.fixture(scope="module")
def agent() -> Iterator[RunningAgent]:
    with consul_agent() as running:
        yield running


@pytest.fixture(scope="module")
def guarded() -> Iterator[RunningAgent]:
    """An agent that denies whatever no token allows."""
    acl = {"enabled": True, "default_policy": "deny", "tokens": {"initial_management": MANAGEMENT}}
    with consul_agent(settings={"acl": acl, "primary_datacenter": "dc1"}) as running:

        def knows_management() -> bool:
            try:
                return bool(running.get("/v1/acl/token/self", MANAGEMENT))
            except httpx.HTTPStatusError:
                return False

        # A new leader writes the token down a moment after it was elected.
        eventually(knows_management, within=30)
        yield running


@pytest.fixture
def reader(agent: RunningAgent) -> Any:
    host, _, port = agent.url.removeprefix("http://").partition(":")
    return py_consul.Consul(host=host, port=int(port))


@pytest.fixture
async def consul(agent: RunningAgent) -> AsyncIterator[Consul]:
    async with Consul(AgentAccess(url=agent.url)) as opened:
        yield opened


def nomads_registration(agent: RunningAgent, *, override: bool = True, **more: Any) -> None:
    """Register what Nomad would for an expert: tags of the job, a check of its own."""
    definition = {
        "ID": "_nomad-task-1-expert-main",
        "Name": "expert-main",
        "Address": "127.0.0.1",
        "Port": 4000,
        "Tags": ["hearth"],
        "Meta": {"base_path": "/experts/main", "external-source": "nomad"},
        "EnableTagOverride": override,
        "Check": {"CheckID": "http", "TTL": "60s", "Status": "passing"},
        **more,
    }
    agent.put("/v1/agent/service/register", definition)
    eventually(lambda: "expert-main" in agent.get("/v1/catalog/services"), within=10)


# --- the client --------------------------------------------------------------------------------------
@pytest.mark.req("CLU-04")
async def test_what_is_written_is_what_another_client_reads(consul: Consul, reader: Any) -> None:
    assert await consul.kv_put("hearth/greeting", "grüß dich")
    assert reader.kv.get("hearth/greeting")[1]["Value"].decode() == "grüß dich"
    reader.kv.put("hearth/from-elsewhere", "x" * 1000)
    entry = await consul.kv_get("hearth/from-elsewhere")
    assert entry is not None
    assert entry.value == "x" * 1000
    await consul.kv_delete("hearth/from-elsewhere")
    assert reader.kv.get("hearth/from-elsewhere")[1] is None
    assert await consul.kv_get("hearth/from-elsewhere") is None


@pytest.mark.req("CLU-04")
async def test_a_key_is_set_only_as_it_was_read(consul: Consul) -> None:
    assert await consul.kv_put("once", "first", cas=0)
    assert not await consul.kv_put("once", "second", cas=0)
    entry = await consul.kv_get("once")
    assert entry is not None
    assert await consul.kv_put("once", "second", cas=entry.modify_index)


@pytest.mark.req("CLU-04")
async def test_services_and_their_health_are_read_as_another_client_wrote_them(
    consul: Consul, reader: Any
) -> None:
    check = py_consul.Check.ttl("60s")
    reader.agent.service.register("shop", "shop-1", address="127.0.0.9", port=99, tags=["a"], check=check)
    reader.agent.check.ttl_warn("service:shop-1", "nearly sold out")
    (shop,) = (await consul.service("shop", stale=False)).value
    assert (shop.id, shop.address, shop.port, shop.tags) == ("shop-1", "127.0.0.9", 99, ("a",))
    said = {check.id: (check.status, check.output) for check in shop.checks}
    assert said["service:shop-1"] == (CheckStatus.WARNING, "nearly sold out")
    assert said["serfHealth"][0] is CheckStatus.PASSING
    assert (await consul.services()).value["shop"] == ("a",)
    reader.agent.service.deregister("shop-1")


async def test_members_and_the_leader_are_told(consul: Consul, agent: RunningAgent) -> None:
    (member,) = await consul.members()
    assert (member.name, member.alive, member.server) == ("here", True, True)
    assert await consul.leader() == agent.get("/v1/status/leader")


@pytest.mark.req("CLU-04")
async def test_a_blocking_query_ends_with_the_change_it_waits_for(consul: Consul, reader: Any) -> None:
    before = await consul.services()
    waiting = asyncio.create_task(consul.services(wait=Wait(index=before.index, seconds=60)))
    assert await asyncio.wait({waiting}, timeout=0.3) == (set(), {waiting})
    reader.agent.service.register("news", address="127.0.0.1", port=1)
    async with asyncio.timeout(20):
        after = await waiting
    assert after.index > before.index
    assert "news" in after.value
    reader.agent.service.deregister("news")


async def test_a_blocking_query_without_news_ends_after_its_wait(consul: Consul) -> None:
    before = await consul.checks()
    began = asyncio.get_running_loop().time()
    after = await consul.checks(wait=Wait(index=before.index, seconds=0.2))
    assert after.index == before.index
    assert 0.2 <= asyncio.get_running_loop().time() - began < 5


async def test_a_reading_tells_whether_the_server_still_knew_its_leader() -> None:
    async def cut_off(exchange: Exchange) -> None:
        assert "stale" in exchange.target
        stale = {"x-consul-index": "7", "x-consul-knownleader": "false", "x-consul-lastcontact": "11500"}
        await exchange.answer(b"{}", headers=stale)

    async with raw_upstream(cut_off) as server, Consul(access_to(server.port)) as consul:
        reading = await consul.services()
    assert (reading.index, reading.known_leader, reading.last_contact) == (7, False, 11.5)


def access_to(port: int) -> AgentAccess:
    return AgentAccess(url=f"http://127.0.0.1:{port}")


@pytest.mark.req("CLU-04")
async def test_a_wrong_token_is_refused_and_never_repeated(guarded: RunningAgent, tmp_path: Path) -> None:
    file = tmp_path / "consul.token"
    file.write_text("00000000-0000-0000-0000-00000000beef\n")
    async with Consul(AgentAccess(url=guarded.url, token_file=file)) as consul:
        with pytest.raises(RefusedError, match=rf"PUT {guarded.url}/v1/kv/hearth/x: 403") as refused:
            await consul.kv_put("hearth/x", "y")
        assert "beef" not in str(refused.value)


@pytest.mark.req("CLU-04")
async def test_a_token_that_is_changed_in_its_file_is_used_at_once(
    guarded: RunningAgent, tmp_path: Path
) -> None:
    file = tmp_path / "consul.token"
    file.write_text("00000000-0000-0000-0000-00000000beef\n")
    async with Consul(AgentAccess(url=guarded.url, token_file=file)) as consul:
        with pytest.raises(RefusedError):
            await consul.kv_put("hearth/x", "y")
        file.write_text(MANAGEMENT)
        assert await consul.kv_put("hearth/x", "y")
        file.unlink()
        with pytest.raises(RefusedError, match=r"consul\.token cannot be read"):
            await consul.kv_put("hearth/x", "y")


async def test_an_agent_that_is_away_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with Consul(access_to(port)) as consul:
        with pytest.raises(UnreachableError, match=rf"GET http://127.0.0.1:{port}/v1/status/leader: "):
            await consul.leader()


async def test_what_is_no_answer_of_consul_is_said(agent: RunningAgent, consul: Consul) -> None:
    async def chatter(exchange: Exchange) -> None:
        await exchange.answer(b"<html>")

    async with raw_upstream(chatter) as server, Consul(access_to(server.port)) as confused:
        with pytest.raises(RejectedError, match="cannot be understood"):
            await confused.services()
    with pytest.raises(NotFoundError, match="/v1/session/renew"):
        await consul.renew_session("5b1f3a52-1d1c-4d6a-9c8e-000000000000")


# --- the registry ------------------------------------------------------------------------------------
@asynccontextmanager
async def registry_of(agent: RunningAgent, announce: Any = "self", **access: Any) -> AsyncIterator[Any]:
    opened = ConsulRegistry(AgentAccess(url=agent.url, **access), SystemClock(), announce=announce)
    async with opened as registry:
        yield registry


async def test_an_instance_that_falls_silent_lapses_and_its_watcher_is_told(agent: RunningAgent) -> None:
    async with registry_of(agent) as registry, asyncio.timeout(30):
        await registry.register(replace(EXPERT, service="silent", id="silent"), ttl=0.3)
        await registry.heartbeat("silent", healthy=True)
        index = await registry.wait_for_change(0, timeout=30)
        (instance,) = await registry.instances("silent")
        while instance.healthy:
            index = await registry.wait_for_change(index, timeout=30)
            (instance,) = await registry.instances("silent")
        assert instance.detail == "heartbeat lapsed"
        await registry.heartbeat("silent", healthy=True)
        index = await registry.wait_for_change(index, timeout=30)
        await registry.deregister("silent")


async def test_only_what_belongs_to_hearth_is_told_of(agent: RunningAgent, reader: Any) -> None:
    reader.agent.service.register("stranger", address="127.0.0.1", port=1)
    eventually(lambda: "stranger" in agent.get("/v1/catalog/services"), within=10)
    async with registry_of(agent) as registry:
        assert await registry.instances("stranger") == ()
        assert "stranger" not in {instance.service for instance in await registry.instances()}
    reader.agent.service.deregister("stranger")


@pytest.mark.req("MOD-05")
async def test_the_active_model_becomes_a_tag_of_what_nomad_registered(
    agent: RunningAgent, reader: Any
) -> None:
    nomads_registration(agent)
    async with registry_of(agent, "nomad") as registry:
        await registry.register(EXPERT, ttl=8)
        await registry.heartbeat(EXPERT.id, healthy=True, meta={"model": "tiny", "context": "4096"})
        (seen,) = await registry.instances("expert-main")
        assert seen.meta == {"model": "tiny", "context": "4096"}
        assert (seen.base_path, seen.healthy) == ("/experts/main", True)
        assert tags_of(reader) == ["hearth", "context=4096", "model=tiny"]
        await registry.heartbeat(EXPERT.id, healthy=True, meta={"model": "second"})
        assert tags_of(reader) == ["hearth", "model=second"]
        # Nomad writes its own tags again when it registers anew; the next heartbeat mends that.
        nomads_registration(agent, Tags=["hearth"])
        eventually(lambda: tags_of(reader) in (["hearth"], ["hearth", "model=second"]), within=10)
        await registry.heartbeat(EXPERT.id, healthy=True, meta={"model": "second"})
        assert tags_of(reader) == ["hearth", "model=second"]
        await registry.deregister(EXPERT.id)
        assert [one.service for one in await registry.instances("expert-main")] == ["expert-main"]
    agent.put("/v1/agent/service/deregister/_nomad-task-1-expert-main")


def tags_of(reader: Any) -> list[str]:
    tags: list[str] = reader.catalog.service("expert-main")[1][0]["ServiceTags"]
    return tags


async def test_a_service_whose_tags_belong_to_its_job_is_left_alone(agent: RunningAgent, reader: Any) -> None:
    nomads_registration(agent, override=False, Tags=["hearth", "of=job"])
    async with registry_of(agent, "nomad") as registry:
        await registry.register(EXPERT, ttl=8)
        await registry.heartbeat(EXPERT.id, healthy=True, meta={"model": "tiny"})
        assert tags_of(reader) == ["hearth", "of=job"]
    agent.put("/v1/agent/service/deregister/_nomad-task-1-expert-main")


async def test_what_a_proxy_leads_to_is_reached_through_it_and_its_health_is_consuls(
    agent: RunningAgent,
) -> None:
    nomads_registration(agent)
    opened = ConsulRegistry(
        AgentAccess(url=agent.url),
        SystemClock(),
        announce="nomad",
        upstreams={"expert-main": ("127.0.0.1", 9101)},
    )
    async with opened as registry:
        (instance,) = await registry.instances("expert-main")
        assert (instance.url, instance.healthy) == ("http://127.0.0.1:9101/experts/main", True)
        agent.put("/v1/agent/check/fail/http")
        eventually(lambda: agent.get("/v1/health/state/critical"), within=10)
        (instance,) = await registry.instances("expert-main")
        assert not instance.healthy
    agent.put("/v1/agent/service/deregister/_nomad-task-1-expert-main")


POLICY = """
service_prefix "" { policy = "read" }
node_prefix "" { policy = "read" }
key_prefix "hearth/" { policy = "write" }
session_prefix "" { policy = "write" }
service_prefix "expert-" { policy = "write" }
"""


@pytest.mark.req("MOD-05")
async def test_the_policy_of_tasks_is_enough_for_tags_keys_and_locks(
    guarded: RunningAgent, tmp_path: Path
) -> None:
    guarded.put("/v1/acl/policy", {"Name": "task", "Rules": POLICY}, MANAGEMENT)
    made = guarded.put("/v1/acl/token", {"Policies": [{"Name": "task"}]}, MANAGEMENT)
    token = tmp_path / "token"
    token.write_text(made["SecretID"])
    async with AsyncExitStack() as stack:
        definition = {
            "ID": "_nomad-1",
            "Name": "expert-main",
            "Address": "127.0.0.1",
            "Port": 4000,
            "Tags": ["hearth"],
            "EnableTagOverride": True,
        }
        guarded.put("/v1/agent/service/register", definition, MANAGEMENT)
        eventually(lambda: "expert-main" in guarded.get("/v1/catalog/services", MANAGEMENT), within=10)
        registry = await stack.enter_async_context(registry_of(guarded, "nomad", token_file=token))
        await registry.register(EXPERT, ttl=8)
        await registry.heartbeat(EXPERT.id, healthy=True, meta={"model": "tiny"})
        (seen,) = await registry.instances("expert-main")
        assert seen.meta == {"model": "tiny"}
        assert await registry.wait_for_change(0, timeout=1) > 0
        consul = await stack.enter_async_context(Consul(AgentAccess(url=guarded.url, token_file=token)))
        await consul.kv_put("hearth/x", "y")
        session = await consul.create_session("wake", ttl=10, lock_delay=0)
        assert await consul.kv_put("hearth/wake", "ada", acquire=session)
        with pytest.raises(RefusedError):
            await consul.kv_put("elsewhere", "y")


async def test_while_the_agent_is_away_what_was_so_a_moment_ago_is_told() -> None:
    with consul_agent() as agent:
        clock = FakeClock()
        async with ConsulRegistry(AgentAccess(url=agent.url), clock) as registry:
            await registry.register(EXPERT, ttl=60)
            await registry.heartbeat(EXPERT.id, healthy=True)
            before = await registry.instances("expert-main")
            assert before[0].healthy
            agent.process.kill()
            agent.process.wait()
            assert await registry.instances("expert-main") == before
            with pytest.raises(UnreachableError):
                await registry.instances()
            await clock.advance(31)
            with pytest.raises(UnreachableError):
                await registry.instances("expert-main")


async def test_an_agent_that_forgot_an_instance_is_told_again(agent: RunningAgent) -> None:
    async with registry_of(agent) as registry:
        await registry.register(EXPERT, ttl=60)
        await registry.heartbeat(EXPERT.id, healthy=True)
        agent.put(f"/v1/agent/service/deregister/{EXPERT.id}")
        eventually(lambda: "expert-main" not in agent.get("/v1/catalog/services"), within=10)
        await registry.heartbeat(EXPERT.id, healthy=True)
        (seen,) = await registry.instances("expert-main")
        assert seen.healthy
        await registry.deregister(EXPERT.id)


async def test_a_lock_whose_holder_died_is_free_when_its_time_is_over(
    agent: RunningAgent, consul: Consul
) -> None:
    ada = await consul.create_session("ada", ttl=10, lock_delay=0)
    bob = await consul.create_session("bob", ttl=10, lock_delay=0)
    assert await consul.kv_put("election", "ada", acquire=ada)
    assert not await consul.kv_put("election", "bob", acquire=bob)
    agent.put(f"/v1/session/destroy/{ada}")
    assert await consul.kv_put("election", "bob", acquire=bob)
