"""The registry of one machine: a SQLite file that all of its services share.

Deadlines are in the system-wide monotonic clock, so a step of the wall clock expires nobody. The
file belongs to one `hearth up`: it is made anew at every start.
"""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from clusterkit.clock import Clock
from clusterkit.ports.registry import Instance
from clusterkit.storage.database import Database
from clusterkit.storage.urls import sqlite_url

POLL_SECONDS = 0.2  #: how often a waiter looks; the upper bound on how late it sees a change

_metadata = sa.MetaData()
_instances = sa.Table(
    "instances",
    _metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("port", sa.Integer, nullable=False),
    sa.Column("base_path", sa.Text, nullable=False),
    sa.Column("healthy", sa.Boolean, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("meta", sa.Text, nullable=False),
    sa.Column("ttl", sa.Float, nullable=False),
    sa.Column("due", sa.Float, nullable=False),
)
_changes = sa.Table(
    "changes", _metadata, sa.Column("only", sa.Integer, primary_key=True), sa.Column("n", sa.Integer)
)


class LocalRegistry:
    """`Registry` on a SQLite file. Use as an async context manager."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """`path` is made when it does not exist."""
        self._database = Database(sqlite_url(path))
        self._clock = clock

    async def __aenter__(self) -> Self:
        """Open the file."""
        await self._database.__aenter__()
        await self._database.write(_create)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        await self._database.__aexit__(kind, error, trace)

    async def register(self, instance: Instance, *, ttl: float) -> None:
        """See `Registry.register`."""
        row = {
            "id": instance.id,
            "service": instance.service,
            "address": instance.address,
            "port": instance.port,
            "base_path": instance.base_path,
            "healthy": False,
            "detail": "no heartbeat yet",
            "meta": orjson.dumps(dict(instance.meta)).decode(),
            "ttl": ttl,
            "due": self._clock.monotonic() + ttl,
        }

        def work(connection: Connection) -> None:
            connection.execute(insert(_instances).values(row).prefix_with("OR REPLACE"))
            _bump(connection)

        await self._database.write(work)

    async def heartbeat(
        self, instance_id: str, *, healthy: bool, detail: str = "", meta: Mapping[str, str] | None = None
    ) -> None:
        """See `Registry.heartbeat`."""
        now = self._clock.monotonic()

        def work(connection: Connection) -> None:
            mine = _instances.c.id == instance_id
            row = connection.execute(sa.select(_instances).where(mine)).one_or_none()
            if row is None:
                return
            new_meta = row.meta if meta is None else orjson.dumps(dict(meta)).decode()
            changes: dict[str, Any] = {"healthy": healthy, "detail": detail, "meta": new_meta}
            connection.execute(_instances.update().where(mine).values(due=now + row.ttl, **changes))
            if (row.healthy, row.detail, row.meta) != (healthy, detail, new_meta):
                _bump(connection)

        await self._database.write(work)

    async def deregister(self, instance_id: str) -> None:
        """See `Registry.deregister`."""

        def work(connection: Connection) -> None:
            if connection.execute(_instances.delete().where(_instances.c.id == instance_id)).rowcount:
                _bump(connection)

        await self._database.write(work)

    async def instances(self, service: str | None = None) -> tuple[Instance, ...]:
        """See `Registry.instances`."""
        query = sa.select(_instances).order_by(_instances.c.service, _instances.c.id)
        if service is not None:
            query = query.where(_instances.c.service == service)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        now = self._clock.monotonic()
        return tuple(_instance(row, now) for row in rows)

    async def wait_for_change(self, index: int, *, timeout: float) -> int:
        """See `Registry.wait_for_change`."""
        until = self._clock.monotonic() + timeout
        while True:
            present, lapsed = await self._database.read(self._look)
            if lapsed:
                await self._database.write(self._expire)
                continue
            if present != index or self._clock.monotonic() >= until:
                return present
            await self._clock.sleep(POLL_SECONDS)

    def _look(self, connection: Connection) -> tuple[int, bool]:
        present = connection.execute(sa.select(_changes.c.n)).scalar_one()
        lapsed = sa.select(sa.func.count()).where(self._lapsed())
        return int(present), bool(connection.execute(lapsed).scalar_one())

    def _expire(self, connection: Connection) -> None:
        gone = _instances.update().where(self._lapsed()).values(healthy=False, detail="heartbeat lapsed")
        if connection.execute(gone).rowcount:
            _bump(connection)

    def _lapsed(self) -> sa.ColumnElement[bool]:
        return sa.and_(_instances.c.healthy, _instances.c.due < self._clock.monotonic())


def _create(connection: Connection) -> None:
    _metadata.create_all(connection)
    connection.execute(insert(_changes).values(only=1, n=1).on_conflict_do_nothing())


def _bump(connection: Connection) -> None:
    connection.execute(_changes.update().values(n=_changes.c.n + 1))


def _instance(row: Any, now: float) -> Instance:
    late = row.healthy and row.due < now
    return Instance(
        service=row.service,
        id=row.id,
        address=row.address,
        port=row.port,
        base_path=row.base_path,
        healthy=row.healthy and not late,
        detail="heartbeat lapsed" if late else row.detail,
        meta=orjson.loads(row.meta),
    )
