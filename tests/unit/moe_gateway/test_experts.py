"""The live view follows the registry and survives its failures."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from clusterkit.errors import StorageError
from clusterkit.ports.registry import Instance
from clusterkit.testing import FakeClock, FakeRegistry
from moe_gateway.experts import RETRY_S, ExpertView
from moe_gateway.routing import Naming

NAMING = Naming(
    agent_model="hearth", agent_service="pipecatapp", default_expert="main", expert_prefix="expert-"
)
MAIN = Instance(service="expert-main", id="m", address="127.0.0.1", port=1, meta={"model": "toy.gguf"})


@asynccontextmanager
async def following(view: ExpertView) -> AsyncIterator[None]:
    task = asyncio.create_task(view.run())
    try:
        async with asyncio.timeout(5):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_instance_that_comes_and_goes_is_followed() -> None:
    clock = FakeClock()
    registry = FakeRegistry(clock)
    view = ExpertView(registry, clock, NAMING, ["main"])
    async with following(view):
        await registry.register(MAIN, ttl=8)
        await registry.heartbeat("m", healthy=True)
        await clock.advance(0)
        target = view.table.find("main")
        assert target is not None
        assert target.ready
        assert target.backends[0].model == "toy.gguf"

        await clock.advance(8.1)  # no heartbeat: it lapses
        target = view.table.find("main")
        assert target is not None
        assert not target.ready


async def test_while_the_registry_fails_the_last_table_stays() -> None:
    clock = FakeClock()
    registry = FakeRegistry(clock)
    view = ExpertView(registry, clock, NAMING, ["main"])
    assert view.problem
    await registry.register(MAIN, ttl=1000)
    await registry.heartbeat("m", healthy=True)
    async with following(view):
        await clock.advance(0)
        assert view.problem == ""

        registry.fail_next = StorageError("the disk is gone")
        await registry_change(registry)
        await clock.advance(0)
        assert view.problem == "the disk is gone"
        target = view.table.find("main")
        assert target is not None
        assert target.ready

        await clock.advance(RETRY_S)
        assert view.problem == ""


async def registry_change(registry: FakeRegistry) -> None:
    """Wake whoever waits, without using up the failure that is planned for the next call."""
    registry._bump()
