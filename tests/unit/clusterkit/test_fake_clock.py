"""The clock of tests stands still until it is moved on."""

import asyncio
from datetime import timedelta

from clusterkit.testing import FakeClock


async def test_time_moves_only_when_it_is_told_to() -> None:
    clock = FakeClock()
    start = clock.now()
    await clock.advance(90)
    assert clock.monotonic() == 90
    assert clock.now() - start == timedelta(seconds=90)


async def test_sleepers_wake_in_order_at_their_own_time() -> None:
    clock, woken = FakeClock(), list[tuple[str, float]]()

    async def sleep(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            woken.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sleep("a", 3, 3))
        tasks.create_task(sleep("b", 1, 1, 1))
        tasks.create_task(sleep("c", 0))
        await clock.advance(10)
    assert woken == [("c", 0), ("b", 1), ("b", 2), ("a", 3), ("b", 3), ("a", 6)]


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(5))
    await asyncio.sleep(0)
    assert clock.sleepers == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert clock.sleepers == 0
    await clock.advance(5)
