"""Timers and reminders ring on time, once, for whoever listens; and late after a restart."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from clusterkit.storage.database import Database, migrate
from clusterkit.testing import FakeClock
from pipecatapp.__main__ import MIGRATIONS
from pipecatapp.memory.alarms import Alarms
from pipecatapp.turns.conversation import Conversation
from pipecatapp.turns.ringing import Ringing
from tests.servers.agent import soon

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TWELVE = timedelta(minutes=12)


class WallClock(FakeClock):
    """A clock that somebody sets."""

    def set_forward(self, by: timedelta) -> None:
        """Change the time of day; what sleeps sleeps on."""
        self._now += by


class Household:
    """A clock, a database, and what was heard."""

    def __init__(self, database: Database) -> None:
        self.clock, self.database = WallClock(NOON), database
        self.alarms = Alarms(database, self.clock)
        self.heard: list[str] = []

    @asynccontextmanager
    async def awake(self, *, listening: bool = True) -> AsyncIterator[Conversation]:
        """The agent runs; everything it speaks is heard, when somebody listens."""
        conversation, alarms = Conversation(), Alarms(self.database, self.clock)
        self.alarms = alarms
        ringing = Ringing(alarms, conversation, self.clock, ZoneInfo("UTC"))
        tasks = [asyncio.create_task(ringing.run())]
        if listening:
            tasks.append(asyncio.create_task(self.listen(conversation)))
            await self.settled()
        try:
            yield conversation
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def listen(self, conversation: Conversation) -> None:
        async for text in conversation.listen():
            self.heard.append(text)

    async def settled(self) -> None:
        """Wait until the ringing sleeps."""
        await soon(lambda: self.clock.sleepers or None)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass; ends when all that is due has rung."""
        for _ in range(int(seconds // 5)):
            await self.settled()
            await self.clock.advance(5)
        await self.settled()


@pytest.fixture
async def household(database_url: str) -> AsyncIterator[Household]:
    migrate(database_url, MIGRATIONS)
    async with Database(database_url) as database:
        yield Household(database)


async def test_a_timer_rings_when_it_is_over_and_not_before_and_only_once(household):
    async with household.awake():
        await household.alarms.set_timer(TWELVE, "pizza")
        await household.pass_time(715)
        assert household.heard == []
        await household.pass_time(5)
        await soon(lambda: household.heard or None)
        await household.pass_time(60)
    assert household.heard == ["Your timer of 12 minutes (pizza) is over."]
    assert await household.alarms.pending() == []


async def test_a_reminder_says_what_it_is_about_as_one_says_it_to_another(household):
    async with household.awake():
        await household.alarms.set_reminder(NOON + timedelta(seconds=10), "call my mum")
        await household.pass_time(15)
        await soon(lambda: household.heard or None)
    assert household.heard == ["Reminder: call your mum."]


async def test_a_timer_outlives_a_restart_and_rings_on_time(household):
    async with household.awake():
        await household.alarms.set_timer(TWELVE, "")
        await household.pass_time(60)
    async with household.awake():
        await household.pass_time(655)
        assert household.heard == []
        await household.pass_time(5)
        await soon(lambda: household.heard or None)
    assert household.heard == ["Your timer of 12 minutes is over."]


async def test_what_became_due_while_nothing_ran_rings_once_late_and_says_so(household):
    await household.alarms.set_timer(TWELVE, "")
    await household.alarms.set_reminder(NOON + TWELVE, "call mum")
    await household.clock.advance(3600)
    for _ in range(2):
        async with household.awake():
            await soon(lambda: len(household.heard) == 2 or None)
            await household.pass_time(30)
    assert household.heard == [
        "Your timer of 12 minutes ended at 12:12; I am late in saying so.",
        "Reminder: call mum. It was due at 12:12; I am late.",
    ]


async def test_what_nobody_would_hear_waits_for_a_listener(household):
    await household.alarms.set_timer(timedelta(seconds=10), "")
    await household.clock.advance(20)
    async with household.awake(listening=False) as conversation:
        await asyncio.sleep(0)
        assert len(await household.alarms.pending()) == 1
        listener = asyncio.create_task(household.listen(conversation))
        await soon(lambda: household.heard or None)
        listener.cancel()
    assert household.heard == ["Your timer of 10 seconds is over."]


async def test_a_cancelled_timer_does_not_ring(household):
    async with household.awake():
        await household.alarms.set_timer(timedelta(seconds=10), "")
        await household.alarms.cancel(lambda alarm: True)
        await household.pass_time(30)
    assert household.heard == []


async def test_a_clock_that_is_set_forward_is_noticed(household):
    async with household.awake():
        await household.alarms.set_timer(timedelta(hours=1), "")
        await household.pass_time(30)
        household.clock.set_forward(timedelta(hours=1))
        await household.pass_time(30)
        await soon(lambda: household.heard or None)
    assert household.heard == ["Your timer of 1 hour is over."]
