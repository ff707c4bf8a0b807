"""Writes are grouped, safe once acknowledged, and harm neither each other nor the database when they fail."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clusterkit.errors import StorageError, StorageFullError
from clusterkit.storage.database import Database, Work, sqlite_url

INSERT = sa.text("INSERT INTO notes (text) VALUES (:text)")


def note(text: str) -> Work[None]:
    def work(connection: Connection) -> None:
        connection.execute(INSERT, {"text": text})

    return work


async def make_table(database: Database) -> None:
    created = "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)"
    await database.write(lambda connection: connection.execute(sa.text(created)) and None)


async def texts(database: Database) -> list[str]:
    return await database.read(
        lambda connection: list(connection.execute(sa.text("SELECT text FROM notes ORDER BY id")).scalars())
    )


def check(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        verdict = str(connection.execute("PRAGMA quick_check").fetchone()[0])
    connection.close()
    return verdict


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "agent.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    async with Database(sqlite_url(path)) as opened:
        await make_table(opened)
        yield opened


@pytest.mark.req("TEL-02")
async def test_a_database_is_durable_and_its_folder_private(database: Database, path: Path) -> None:
    def pragmas(connection: Connection) -> list[Any]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names]

    assert await database.read(pragmas) == ["wal", 2, 1, 5000]
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_writes_that_wait_share_a_commit(database: Database) -> None:
    commits: list[int] = []
    sa.event.listen(database.engine, "commit", lambda _: commits.append(1))
    busy = asyncio.Event()
    loop, hold = asyncio.get_running_loop(), asyncio.run_coroutine_threadsafe

    def block(_: Connection) -> None:
        loop.call_soon_threadsafe(busy.set)
        hold(all_queued.wait(), loop).result(timeout=30)

    all_queued = asyncio.Event()
    first = asyncio.create_task(database.write(block))
    await busy.wait()
    rest = [asyncio.create_task(database.write(note(str(n)))) for n in range(50)]
    await asyncio.sleep(0)
    all_queued.set()
    await asyncio.gather(first, *rest)
    assert len(commits) == 2
    assert await texts(database) == [str(n) for n in range(50)]


@pytest.mark.parametrize("failing", ["python", "constraint", "statement", "closed connection"])
async def test_a_failing_write_leaves_its_neighbours_alone(database: Database, failing: str) -> None:
    def fail(connection: Connection) -> None:
        note("of the failing one")(connection)
        match failing:
            case "python":
                raise KeyError("mine")
            case "constraint":
                note("of the failing one")(connection)
            case "statement":
                connection.exec_driver_sql("INSERT INTO no_such_table VALUES (1)")
            case _:
                connection.close()

    expected = KeyError if failing == "python" else StorageError
    async with asyncio.timeout(30):
        results = await asyncio.gather(
            *(database.write(note(f"before {n}")) for n in range(5)),
            database.write(fail),
            *(database.write(note(f"after {n}")) for n in range(5)),
            return_exceptions=True,
        )
    assert [type(result) for result in results if result is not None] == [expected]
    assert await texts(database) == [f"{when} {n}" for when in ("before", "after") for n in range(5)]


async def test_a_caller_that_leaves_does_not_stop_the_writer(database: Database) -> None:
    gone = asyncio.create_task(database.write(note("gone")))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    await database.write(note("next"))
    assert await texts(database) == ["gone", "next"]


async def test_a_closed_database_refuses_instead_of_waiting_for_ever(path: Path) -> None:
    async with Database(sqlite_url(path)) as database:
        await make_table(database)
        last = [asyncio.create_task(database.write(note(str(n)))) for n in range(20)]
        await asyncio.sleep(0)
    await asyncio.gather(*last)
    async with asyncio.timeout(30):
        with pytest.raises(StorageError, match="closed"):
            await database.write(note("late"))


async def test_a_read_that_fails_says_which_database(database: Database, path: Path) -> None:
    with pytest.raises(StorageError, match=rf"{path}: no such table: nowhere"):
        await database.read(lambda connection: connection.exec_driver_sql("SELECT * FROM nowhere"))


def no_room(connection: sqlite3.Connection, _: Any) -> None:
    connection.execute("PRAGMA max_page_count = 40")


async def test_a_full_disk_is_said_and_leaves_the_database_whole(path: Path) -> None:
    database = Database(sqlite_url(path))
    sa.event.listen(database.engine, "connect", no_room)
    async with database:
        await make_table(database)
        await database.write(note("kept"))
        async with asyncio.timeout(30):
            big = [database.write(note(str(n) + "x" * 50_000)) for n in range(20)]
            results = await asyncio.gather(*big, return_exceptions=True)
        failures = [result for result in results if result is not None]
        assert failures
        assert {type(failure) for failure in failures} == {StorageFullError}
        assert f"no room to write {path}" in str(failures[0])
        assert len(await texts(database)) == 1 + len(results) - len(failures)
        sa.event.remove(database.engine, "connect", no_room)
        database.engine.dispose()
        await database.write(note("there is room again"))
        assert (await texts(database))[-1] == "there is room again"
    assert check(path) == "ok"


def fill(ballast: Path) -> None:
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_disk_that_is_really_full_leaves_the_database_whole(tiny_disk: Path) -> None:
    path = tiny_disk / "agent.db"
    async with Database(sqlite_url(path)) as database:
        await make_table(database)
        await database.write(note("kept"))
        ballast = tiny_disk / "ballast"
        fill(ballast)
        async with asyncio.timeout(30):
            with pytest.raises(StorageFullError, match="nothing was half-written"):
                await database.write(note("x" * 100_000))
        assert await texts(database) == ["kept"]
        ballast.unlink()
        await database.write(note("there is room again"))
        assert await texts(database) == ["kept", "there is room again"]
    assert check(path) == "ok"


WRITE_FOR_EVER = """
import asyncio, itertools, sys
from contextlib import suppress
from pathlib import Path
from clusterkit.storage.database import Database, sqlite_url
from tests.unit.clusterkit.storage.test_database import make_table, note

async def main():
    async with Database(sqlite_url(Path(sys.argv[1]))) as database:
        await make_table(database)
        async def one(name):
            for n in itertools.count():
                await database.write(note(f"{name}.{n} " + "x" * 2000))
                print(f"{name}.{n}", flush=True)
        await asyncio.gather(*(one(name) for name in range(8)))

asyncio.run(main())
"""


async def test_a_writer_that_is_killed_loses_nothing_that_it_acknowledged(path: Path) -> None:
    command = [sys.executable, "-c", WRITE_FOR_EVER, str(path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - it outlives no test
    assert child.stdout is not None
    acknowledged = [child.stdout.readline().strip() for _ in range(200)]
    os.kill(child.pid, signal.SIGKILL)
    acknowledged += child.communicate(timeout=30)[0].split("\n")[:-1]
    assert child.returncode == -signal.SIGKILL
    assert check(path) == "ok"
    async with Database(sqlite_url(path)) as database:
        found = {text.split()[0] for text in await texts(database)}
        await database.write(note("after"))
    assert set(acknowledged) <= found
    assert json.dumps(sorted(found - set(acknowledged))).count(",") < 8 * 4


async def test_two_processes_may_write_at_once(path: Path) -> None:
    async with Database(sqlite_url(path)) as one, Database(sqlite_url(path)) as other:
        await make_table(one)
        writes = [
            database.write(note(f"{name}{n}"))
            for n in range(30)
            for name, database in (("a", one), ("b", other))
        ]
        await asyncio.gather(*writes)
        assert len(await texts(other)) == 60
