"""What every registry does: the one of one machine, the one of a cluster, and the fake."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from clusterkit.clock import SystemClock
from clusterkit.cluster.agent_http import AgentAccess
from clusterkit.cluster.consul_registry import ConsulRegistry
from clusterkit.ports.local_registry import LocalRegistry
from clusterkit.ports.registry import Instance, Registry
from clusterkit.testing import FakeClock, FakeRegistry
from tests.integration.waiting import eventually
from tests.servers.agents import RunningAgent, consul_agent

Value = TypeVar("Value")

AGENT = Instance(service="agent", id="agent-1", address="127.0.0.1", port=4000, meta={"model": "tiny"})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="module")
def agent() -> Iterator[RunningAgent]:
    with consul_agent() as running:
        yield running


def forget_everything(agent: RunningAgent) -> None:
    for service in agent.get("/v1/agent/services"):
        agent.put(f"/v1/agent/service/deregister/{service}")
    eventually(lambda: set(agent.get("/v1/catalog/services")) == {"consul"}, within=10)


@pytest.fixture(params=["fake", "local"])
async def timed_registry(
    request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path
) -> AsyncIterator[Registry]:
    """A registry on a clock that the test moves."""
    if request.param == "fake":
        yield FakeRegistry(clock)
        return
    async with LocalRegistry(tmp_path / "run" / "registry.db", clock) as local:
        yield local


@pytest.fixture(params=["fake", "local", "consul"])
async def registry(
    request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path
) -> AsyncIterator[Registry]:
    if request.param == "fake":
        yield FakeRegistry(clock)
    elif request.param == "local":
        async with LocalRegistry(tmp_path / "run" / "registry.db", clock) as local:
            yield local
    else:
        agent: RunningAgent = request.getfixturevalue("agent")
        forget_everything(agent)
        async with ConsulRegistry(AgentAccess(url=agent.url), SystemClock()) as consul:
            yield consul


async def while_time_passes(clock: FakeClock, work: Coroutine[Any, Any, Value]) -> Value:
    """The result of `work`, moving the clock on whenever something sleeps on it."""
    task = asyncio.ensure_future(work)
    async with asyncio.timeout(30):
        while not task.done():
            if clock.sleepers:
                await clock.advance(0.05)
            await asyncio.sleep(0)
    return await task


async def only(registry: Registry) -> Instance:
    (instance,) = await registry.instances()
    return instance


async def test_an_instance_is_unhealthy_until_its_first_heartbeat(registry: Registry) -> None:
    await registry.register(replace(AGENT, healthy=True), ttl=8)
    assert await only(registry) == replace(AGENT, healthy=False, detail="no heartbeat yet")
    await registry.heartbeat(AGENT.id, healthy=True)
    assert await only(registry) == replace(AGENT, healthy=True)


async def test_a_heartbeat_tells_why_something_is_not_healthy(registry: Registry) -> None:
    await registry.register(AGENT, ttl=8)
    await registry.heartbeat(AGENT.id, healthy=False, detail="no model", meta={"model": ""})
    assert await only(registry) == replace(AGENT, detail="no model", meta={"model": ""})
    await registry.heartbeat(AGENT.id, healthy=True)
    assert await only(registry) == replace(AGENT, healthy=True, meta={"model": ""})


async def test_an_instance_that_falls_silent_is_unhealthy_when_its_time_is_over(
    timed_registry: Registry, clock: FakeClock
) -> None:
    await timed_registry.register(AGENT, ttl=8)
    await timed_registry.heartbeat(AGENT.id, healthy=True)
    await clock.advance(7.9)
    assert (await only(timed_registry)).healthy
    await timed_registry.heartbeat(AGENT.id, healthy=True)
    await clock.advance(7.9)
    assert (await only(timed_registry)).healthy
    await clock.advance(0.2)
    silent = await only(timed_registry)
    assert (silent.healthy, silent.detail) == (False, "heartbeat lapsed")
    await timed_registry.heartbeat(AGENT.id, healthy=True)
    assert await only(timed_registry) == replace(AGENT, healthy=True)


async def test_instances_are_found_by_service_in_order(registry: Registry) -> None:
    for service, number in (("b", 2), ("b", 1), ("a", 9)):
        await registry.register(replace(AGENT, service=service, id=f"{service}-{number}"), ttl=8)
    assert [instance.id for instance in await registry.instances()] == ["a-9", "b-1", "b-2"]
    assert [instance.id for instance in await registry.instances("b")] == ["b-1", "b-2"]
    assert await registry.instances("nobody") == ()


async def test_registering_again_replaces(registry: Registry) -> None:
    await registry.register(AGENT, ttl=8)
    await registry.heartbeat(AGENT.id, healthy=True)
    await registry.register(replace(AGENT, port=4001, meta={}), ttl=8)
    assert await only(registry) == replace(AGENT, port=4001, meta={}, detail="no heartbeat yet")


async def test_what_is_deregistered_is_gone_and_unknown_ids_are_ignored(registry: Registry) -> None:
    await registry.register(AGENT, ttl=8)
    await registry.deregister(AGENT.id)
    await registry.deregister(AGENT.id)
    await registry.heartbeat(AGENT.id, healthy=True)
    assert await registry.instances() == ()


async def test_every_change_moves_the_index_and_sameness_does_not(registry: Registry) -> None:
    index = await registry.wait_for_change(0, timeout=60)
    assert index > 0

    async def moved() -> bool:
        nonlocal index
        before, index = index, await registry.wait_for_change(0, timeout=60)
        return index > before

    await registry.register(AGENT, ttl=8)
    assert await moved()
    await registry.heartbeat(AGENT.id, healthy=True)
    assert await moved()
    await registry.heartbeat(AGENT.id, healthy=True)
    assert not await moved()
    await registry.heartbeat(AGENT.id, healthy=True, meta={"model": "other"})
    assert await moved()
    await registry.heartbeat(AGENT.id, healthy=False, detail="x")
    assert await moved()
    await registry.deregister(AGENT.id)
    assert await moved()
    await registry.deregister(AGENT.id)
    assert not await moved()


async def test_a_waiter_is_told_of_a_change(registry: Registry, clock: FakeClock) -> None:
    index = await registry.wait_for_change(0, timeout=60)
    waiter = asyncio.create_task(registry.wait_for_change(index, timeout=60))
    await registry.register(AGENT, ttl=8)
    assert await while_time_passes(clock, asyncio.wait_for(waiter, None)) > index
    assert clock.monotonic() < 1


async def test_a_waiter_is_told_of_a_lapse(timed_registry: Registry, clock: FakeClock) -> None:
    await timed_registry.register(AGENT, ttl=8)
    await timed_registry.heartbeat(AGENT.id, healthy=True)
    index = await timed_registry.wait_for_change(0, timeout=60)
    assert await while_time_passes(clock, timed_registry.wait_for_change(index, timeout=60)) > index
    assert 8 <= clock.monotonic() < 9
    assert not (await only(timed_registry)).healthy


async def test_a_waiter_waits_no_longer_than_it_said(timed_registry: Registry, clock: FakeClock) -> None:
    index = await timed_registry.wait_for_change(0, timeout=60)
    assert await while_time_passes(clock, timed_registry.wait_for_change(index, timeout=3)) == index
    assert 3 <= clock.monotonic() < 4


async def test_a_heartbeat_as_expected_wakes_no_waiter(timed_registry: Registry, clock: FakeClock) -> None:
    await timed_registry.register(AGENT, ttl=1)
    await timed_registry.heartbeat(AGENT.id, healthy=True)
    index = await timed_registry.wait_for_change(0, timeout=60)

    async def beat_for_ever() -> None:
        while True:
            await clock.sleep(0.5)
            await timed_registry.heartbeat(AGENT.id, healthy=True)

    beating = asyncio.create_task(beat_for_ever())
    assert await while_time_passes(clock, timed_registry.wait_for_change(index, timeout=3)) == index
    beating.cancel()
    assert clock.monotonic() >= 3


def test_an_instance_knows_its_url() -> None:
    assert replace(AGENT, base_path="/experts/main").url == "http://127.0.0.1:4000/experts/main"
    assert replace(AGENT, address="::1").url == "http://[::1]:4000"
