"""Timers and reminders ring: spoken to everybody in the conversation, once, and late rather than never."""

import asyncio
from datetime import datetime, timedelta, tzinfo

import structlog

from clusterkit.clock import Clock
from clusterkit.errors import StorageError
from pipecatapp.memory.alarms import Alarm, AlarmKind, Alarms
from pipecatapp.memory.words import to_you
from pipecatapp.spoken.durations import say_duration
from pipecatapp.spoken.moments import say_moment
from pipecatapp.turns.conversation import Conversation

LATE = timedelta(seconds=60)  #: a ring that is later than this says so
#: Longest sleep, in seconds: the wall clock may be set, or the machine may sleep, which no timer sees.
LOOK_AGAIN = 15.0

log = structlog.get_logger()


class Ringing:
    """Rings what is due, when somebody is there to hear it."""

    def __init__(self, alarms: Alarms, conversation: Conversation, clock: Clock, zone: tzinfo | None) -> None:
        """`zone` is where the clock on the wall hangs, None for this machine's own."""
        self._alarms, self._conversation, self._clock, self._zone = alarms, conversation, clock, zone

    async def run(self) -> None:
        """Ring until cancelled. A database that fails is tried again."""
        while True:
            await self._conversation.wait_for_listener()
            self._alarms.changed.clear()
            try:
                wait = await self._ring_due()
            except StorageError as error:
                log.error("ringing_failed", problem=str(error))
                wait = LOOK_AGAIN
            await self._sleep(wait)

    async def _ring_due(self) -> float:
        """Ring what is due; returns the seconds until there may be more."""
        for alarm in await self._alarms.take_due():
            now = self._clock.now()
            log.info("rang", kind=alarm.kind.value, late_s=round((now - alarm.due).total_seconds(), 3))
            self._conversation.speak(ring_text(alarm, now, self._zone))
        pending = await self._alarms.pending()
        if not pending:
            return LOOK_AGAIN
        left = (pending[0].due - self._clock.now()).total_seconds()
        return min(max(left, 0.0), LOOK_AGAIN)

    async def _sleep(self, seconds: float) -> None:
        """Sleep so long, or until a timer is set or cancelled."""
        waits = {
            asyncio.ensure_future(self._clock.sleep(seconds)),
            asyncio.ensure_future(self._alarms.changed.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
            await asyncio.wait(waits)


def ring_text(alarm: Alarm, now: datetime, zone: tzinfo | None) -> str:
    """What is said when an alarm rings: `Your timer of 12 minutes (pizza) is over.`"""
    late = now - alarm.due > LATE
    at = say_moment(alarm.due, now, zone)
    if alarm.kind is AlarmKind.REMINDER or alarm.length is None:
        text = f"Reminder: {to_you(alarm.label)}."
        return f"{text} It was due at {at}; I am late." if late else text
    name = f"Your timer of {say_duration(alarm.length)}{f' ({alarm.label})' if alarm.label else ''}"
    return f"{name} ended at {at}; I am late in saying so." if late else f"{name} is over."
