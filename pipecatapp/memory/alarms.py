"""Timers and reminders: kept until they have rung, so that a restart erases none."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clusterkit.clock import Clock
from clusterkit.storage.database import Database
from pipecatapp.memory.tables import alarms, as_moment, as_text


class AlarmKind(StrEnum):
    """What rings."""

    TIMER = "timer"  # after a time
    REMINDER = "reminder"  # at a moment, of something


@dataclass(frozen=True)
class Alarm:
    """Something that rings."""

    id: int
    kind: AlarmKind
    label: str  #: of a timer, often none: `pizza`; of a reminder what it is about: `call Anna`
    due: datetime
    length: timedelta | None  #: of a timer


class Alarms:
    """The timers and reminders that have not rung. Everything raises `StorageError`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """`database` has the tables of `pipecatapp.memory.tables`."""
        self._database, self._clock = database, clock
        self.changed = asyncio.Event()  #: set when one was added or cancelled; whoever waits for it clears it

    async def set_timer(self, length: timedelta, label: str) -> Alarm:
        """Ring when `length` is over."""
        return await self._add(AlarmKind.TIMER, label, self._clock.now() + length, length)

    async def set_reminder(self, due: datetime, label: str) -> Alarm:
        """Ring at `due`, which is aware."""
        return await self._add(AlarmKind.REMINDER, label, due, None)

    async def pending(self) -> Sequence[Alarm]:
        """What has not rung, the next one first."""
        return await self._database.read(_in_order)

    async def cancel(self, meant: Callable[[Alarm], bool]) -> Sequence[Alarm]:
        """Cancel those that are `meant`; returns them."""

        def write(connection: Connection) -> Sequence[Alarm]:
            gone = [alarm for alarm in _in_order(connection) if meant(alarm)]
            _delete(connection, gone)
            return gone

        gone = await self._database.write(write)
        self.changed.set()
        return gone

    async def take_due(self) -> Sequence[Alarm]:
        """What is due now, in order. It is given once, also when two ask."""
        now = self._clock.now()

        def write(connection: Connection) -> Sequence[Alarm]:
            due = [alarm for alarm in _in_order(connection) if alarm.due <= now]
            _delete(connection, due)
            return due

        return await self._database.write(write)

    async def _add(self, kind: AlarmKind, label: str, due: datetime, length: timedelta | None) -> Alarm:
        seconds = None if length is None else round(length.total_seconds())
        values = {"kind": kind.value, "label": label, "due": as_text(due), "seconds": seconds}

        def write(connection: Connection) -> int:
            key = connection.execute(sa.insert(alarms).values(values)).inserted_primary_key
            assert key is not None, "a row that was inserted has a key"
            return int(key[0])

        number = await self._database.write(write)
        self.changed.set()
        return Alarm(number, kind, label, due, length)


def _in_order(connection: Connection) -> Sequence[Alarm]:
    rows = connection.execute(sa.select(alarms).order_by(alarms.c.due, alarms.c.id))
    return [
        Alarm(
            row.id,
            AlarmKind(row.kind),
            row.label,
            as_moment(row.due),
            None if row.seconds is None else timedelta(seconds=row.seconds),
        )
        for row in rows
    ]


def _delete(connection: Connection, gone: Sequence[Alarm]) -> None:
    connection.execute(sa.delete(alarms).where(alarms.c.id.in_([alarm.id for alarm in gone])))
