"""SQL databases: SQLite in WAL mode or PostgreSQL, with one writer that commits groups at once.

Writers hand a function to the writer thread; all functions that wait are run inside one transaction
(each behind a savepoint) and acknowledged after one synchronised commit. That keeps
`synchronous=FULL` affordable: the disk is waited for once per group, not once per write.
"""

import asyncio
import queue
import shutil
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from clusterkit.errors import StorageError, StorageFullError
from clusterkit.storage.postgresql import DISK_FULL, SILENCE_SECONDS, complaint, open_postgresql
from clusterkit.storage.urls import POSTGRESQL, database_url

Result = TypeVar("Result")
Work = Callable[[Connection], Result]
_Write = tuple[Work[Any], "Future[Any]"]

_MAX_GROUP = 512  #: writes in one transaction; bounds how long a commit can take


def open_engine(url: str, *, silence: float = SILENCE_SECONDS) -> Engine:
    """An engine for `url`, set up so that what is committed is on disk and one transaction writes at a time.

    A server may be silent for `silence` seconds before a statement counts as failed. Nothing is opened yet.
    Raises `StorageError` when `url` names what is not supported.
    """
    parsed = database_url(url)
    if parsed.drivername == POSTGRESQL:
        return open_postgresql(parsed, silence)
    engine = sa.create_engine(parsed)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_explicitly)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # transactions are begun by `_begin_explicitly`
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_explicitly(connection: Connection) -> None:
    # sqlite3's own implicit BEGIN is deferred: two writers would fail at their first write.
    writing = connection.get_execution_options().get("hearth_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def migrate(url: str, migrations: Path) -> None:
    """Bring the database at `url` to the newest revision found in the folder `migrations`.

    Raises `StorageError`; what was half-migrated is undone.
    """
    # Imported here: readers of a database need not load what changes its schema.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["url"] = url
    try:
        command.upgrade(config, "head")
    except sa.exc.SQLAlchemyError as error:
        raise storage_error(database_url(url), error) from error


class Database:
    """One database: many readers, one writer with group commit. Use as an async context manager."""

    def __init__(self, url: str) -> None:
        """`url` is an SQLAlchemy URL."""
        self.engine = open_engine(url)
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_loop, name="database-writer", daemon=True)
        self._closed = False

    async def __aenter__(self) -> Self:
        """Start the writer."""
        self._writer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the writes that wait, then close."""
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._writer.join)
        self.engine.dispose()

    async def write(self, work: Work[Result]) -> Result:
        """Run `work` in the writer's transaction; returns once it is safely on disk.

        `work` may run more than once: a transaction that another write spoilt is undone and done again.
        Raises what `work` raised (its own changes are then undone), `StorageFullError` when the disk
        is full, `StorageError` when the database refuses otherwise or is closed.
        """
        if self._closed:
            raise StorageError(f"{_shown(self.engine.url)}: is closed")
        done: Future[Result] = Future()
        self._queue.put((work, done))
        # Shielded: a caller that goes away must not leave the writer with a cancelled future.
        return await asyncio.shield(asyncio.wrap_future(done))

    async def read(self, work: Work[Result]) -> Result:
        """Run `work` on a connection of its own, beside the writer."""

        def run() -> Result:
            try:
                with self.engine.connect() as connection:
                    return work(connection)
            except sa.exc.SQLAlchemyError as error:
                raise storage_error(self.engine.url, error) from error

        return await asyncio.to_thread(run)

    def _write_loop(self) -> None:
        while (first := self._queue.get()) is not None:
            group = [first]
            stop = False
            while len(group) < _MAX_GROUP and not self._queue.empty():
                item = self._queue.get()
                if item is None:
                    stop = True
                    break
                group.append(item)
            self._commit(group)
            if stop:
                return

    def _commit(self, group: list[_Write]) -> None:
        try:
            outcomes = self._transact(group)
        except BaseException as error:  # noqa: BLE001 - handed to the callers that asked
            # Without its server no other try is made: whether the commit came through is not known then.
            if len(group) == 1 or isinstance(error, sa.exc.InterfaceError):
                for _, done in group:
                    done.set_exception(self._explained(error))
                return
            # One of them spoilt the transaction for all, so each runs again in one of its own.
            for one in group:
                self._commit([one])
            return
        for (_, done), (value, failure) in zip(group, outcomes, strict=True):
            if failure is None:
                done.set_result(value)
            else:
                done.set_exception(failure)

    def _transact(self, group: list[_Write]) -> list[tuple[Any, BaseException | None]]:
        outcomes: list[tuple[Any, BaseException | None]] = []
        with self.engine.connect().execution_options(hearth_write=True) as connection, connection.begin():
            if len(group) == 1:
                value = group[0][0](connection)
                if not connection.in_transaction():
                    raise sa.exc.InvalidRequestError("the write ended its own transaction")
                return [(value, None)]
            for work, _ in group:
                try:
                    with connection.begin_nested():
                        value = work(connection)
                    outcomes.append((value, None))
                except (sa.exc.InterfaceError, sa.exc.OperationalError, sa.exc.InvalidRequestError):
                    raise  # the transaction itself may be gone
                except BaseException as error:  # noqa: BLE001 - handed to the caller that asked
                    outcomes.append((None, self._explained(error)))
        return outcomes

    def _explained(self, error: BaseException) -> BaseException:
        if not isinstance(error, sa.exc.SQLAlchemyError):
            return error
        explained = storage_error(self.engine.url, error)
        explained.__cause__ = error
        return explained


def storage_error(url: sa.URL, error: sa.exc.SQLAlchemyError) -> StorageError:
    """What went wrong with the database at `url`, without its password."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else error
    if url.drivername == POSTGRESQL and cause is not error:
        state, message = complaint(cause)
        if state == DISK_FULL:
            return StorageFullError(f"{_shown(url)}: no room to write ({message}); nothing was half-written")
        return StorageError(f"{_shown(url)}: {message}")
    if "disk is full" in str(cause) and url.database:
        free = shutil.disk_usage(Path(url.database).parent).free // 2**20
        return StorageFullError(f"no room to write {url.database} ({free} MB free); nothing was half-written")
    return StorageError(f"{_shown(url)}: {cause}")


def _shown(url: sa.URL) -> str:
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)
