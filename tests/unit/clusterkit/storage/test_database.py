"""Writes are grouped, safe once acknowledged, and harm neither each other nor the database when they fail."""

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clusterkit.errors import StorageError, StorageFullError
from clusterkit.storage.database import Database, Work
from clusterkit.storage.postgresql import LOCK_SECONDS
from clusterkit.storage.urls import sqlite_url
from tests.servers.postgres import ENCODED_PASSWORD, PASSWORD, Postgres

NOTES = sa.Table(
    "notes",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("text", sa.Text, nullable=False, unique=True),
)


def note(text: str) -> Work[None]:
    def work(connection: Connection) -> None:
        connection.execute(NOTES.insert(), {"text": text})

    return work


async def make_table(database: Database) -> None:
    await database.write(NOTES.metadata.create_all)


async def texts(database: Database) -> list[str]:
    return await database.read(
        lambda connection: list(connection.execute(sa.select(NOTES.c.text).order_by(NOTES.c.id)).scalars())
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
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database(database_url) as opened:
        await make_table(opened)
        yield opened


async def settings_of(url: str, show: str, names: Sequence[str]) -> list[Any]:
    def ask(connection: Connection) -> list[Any]:
        return [connection.exec_driver_sql(f"{show} {name}").scalar_one() for name in names]

    async with Database(url) as database:
        return await database.read(ask)


@pytest.mark.req("TEL-02")
async def test_a_sqlite_file_is_durable_and_its_folder_private(path: Path) -> None:
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    assert await settings_of(sqlite_url(path), "PRAGMA", names) == ["wal", 2, 1, 5000]
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_server_set_up_to_lose_commits_is_asked_not_to(
    postgres: Postgres, postgresql_url: str
) -> None:
    postgres.run_sql(f"ALTER ROLE {sa.make_url(postgresql_url).username} SET synchronous_commit TO off")
    names = ("synchronous_commit", "lock_timeout", "client_encoding")
    assert await settings_of(postgresql_url, "SHOW", names) == ["on", "5s", "UTF8"]


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


async def test_a_closed_database_refuses_instead_of_waiting_for_ever(database_url: str) -> None:
    async with Database(database_url) as database:
        await make_table(database)
        last = [asyncio.create_task(database.write(note(str(n)))) for n in range(20)]
        await asyncio.sleep(0)
    await asyncio.gather(*last)
    async with asyncio.timeout(30):
        with pytest.raises(StorageError, match="closed"):
            await database.write(note("late"))


async def test_a_read_that_fails_says_which_database(database: Database) -> None:
    with pytest.raises(StorageError) as caught:
        await database.read(lambda connection: connection.exec_driver_sql("SELECT * FROM nowhere"))
    url = database.engine.url
    complaint = {
        "sqlite": f"{url.database}: no such table: nowhere",
        "postgresql": f'@127.0.0.1:{url.port}/{url.database}: relation "nowhere" does not exist',
    }[url.get_backend_name()]
    assert str(caught.value).endswith(complaint)
    assert PASSWORD not in str(caught.value)
    assert ENCODED_PASSWORD not in str(caught.value)


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
from clusterkit.storage.database import Database
from tests.unit.clusterkit.storage.test_database import make_table, note

async def main():
    async with Database(sys.argv[1]) as database:
        await make_table(database)
        async def one(name):
            for n in itertools.count():
                await database.write(note(f"{name}.{n} " + "x" * 2000))
                print(f"{name}.{n}", flush=True)
        await asyncio.gather(*(one(name) for name in range(8)))

asyncio.run(main())
"""


async def test_a_writer_that_is_killed_loses_nothing_that_it_acknowledged(
    database_url: str, path: Path
) -> None:
    command = [sys.executable, "-c", WRITE_FOR_EVER, database_url]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - it outlives no test
    assert child.stdout is not None
    acknowledged = [child.stdout.readline().strip() for _ in range(200)]
    os.kill(child.pid, signal.SIGKILL)
    acknowledged += child.communicate(timeout=30)[0].split("\n")[:-1]
    assert child.returncode == -signal.SIGKILL
    if database_url == sqlite_url(path):
        assert check(path) == "ok"
    async with Database(database_url) as database:
        found = {text.split()[0] for text in await texts(database)}
        await database.write(note("after"))
    assert set(acknowledged) <= found
    assert json.dumps(sorted(found - set(acknowledged))).count(",") < 8 * 4


async def test_two_processes_may_write_at_once(database_url: str) -> None:
    async with Database(database_url) as one, Database(database_url) as other:
        await make_table(one)
        writes = [
            database.write(note(f"{name}{n}"))
            for n in range(30)
            for name, database in (("a", one), ("b", other))
        ]
        await asyncio.gather(*writes)
        assert len(await texts(other)) == 60


async def test_a_reader_that_goes_by_numbers_misses_no_row_of_two_writers(database_url: str) -> None:
    loop, in_the_middle, may_commit = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def slow(connection: Connection) -> None:
        note("first")(connection)
        loop.call_soon_threadsafe(in_the_middle.set)
        asyncio.run_coroutine_threadsafe(may_commit.wait(), loop).result(timeout=30)

    async with Database(database_url) as one, Database(database_url) as other:
        await make_table(one)
        first = asyncio.create_task(one.write(slow))
        await in_the_middle.wait()
        second = asyncio.create_task(other.write(note("second")))
        done, _ = await asyncio.wait({second}, timeout=0.5)
        assert not done, "the second writer's row is seen before the first one's, which has a lower number"
        assert await texts(other) == []
        may_commit.set()
        await asyncio.gather(first, second)
        assert await texts(other) == ["first", "second"]


async def test_a_writer_that_another_one_keeps_waiting_is_told(postgresql_url: str) -> None:
    loop, in_the_middle, may_commit = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def stuck(connection: Connection) -> None:
        note("first")(connection)
        loop.call_soon_threadsafe(in_the_middle.set)
        asyncio.run_coroutine_threadsafe(may_commit.wait(), loop).result(timeout=30)

    async with Database(postgresql_url) as one, Database(postgresql_url) as other:
        await make_table(one)
        first = asyncio.create_task(one.write(stuck))
        await in_the_middle.wait()
        async with asyncio.timeout(LOCK_SECONDS + 5):
            with pytest.raises(StorageError, match="canceling statement due to lock timeout"):
                await other.write(note("second"))
        may_commit.set()
        await first
        await other.write(note("second"))


async def test_a_server_that_is_gone_is_said_to_all_who_wait_and_used_again_when_it_is_back(
    postgres: Postgres, postgresql_url: str
) -> None:
    where = rf"@127\.0\.0\.1:{postgres.port}/postgres: cannot be reached: Connection refused"
    async with Database(postgresql_url) as database:
        await make_table(database)
        await database.write(note("before"))
        with postgres.down():
            async with asyncio.timeout(30):
                results = await asyncio.gather(
                    *(database.write(note(str(n))) for n in range(20)),
                    texts(database),
                    return_exceptions=True,
                )
            assert [type(result) for result in results] == [StorageError] * 21
            assert all(re.search(where, str(result)) for result in results)
        await database.write(note("after"))
        assert await texts(database) == ["before", "after"]


async def test_a_write_during_which_the_server_dies_is_told_and_leaves_nothing(
    postgres: Postgres, postgresql_url: str
) -> None:
    def kill(connection: Connection) -> None:
        note("half")(connection)
        postgres.kill()

    async with Database(postgresql_url) as database:
        await make_table(database)
        try:
            with pytest.raises(StorageError, match="cannot be reached"):
                await database.write(kill)
        finally:
            postgres.start()
        assert await texts(database) == []


async def test_a_server_without_room_is_said_as_a_full_disk(postgresql_url: str) -> None:
    refuse = "DO $$ BEGIN RAISE 'No space left on device' USING ERRCODE = 'disk_full'; END $$"
    async with Database(postgresql_url) as database:
        with pytest.raises(
            StorageFullError, match=r"/postgres: no room to write \(No space left on device\)"
        ):
            await database.write(lambda connection: connection.exec_driver_sql(refuse) and None)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("a%20pass", "another"), 'password authentication failed for user "hearth_'),
        (("/postgres", "/nowhere"), 'database "nowhere" does not exist'),
        (("127.0.0.1", "no-such-host.invalid"), r"no-such-host\.invalid.*: cannot be reached: "),
    ],
    ids=["wrong password", "no such database", "no such host"],
)
async def test_what_a_server_refuses_names_it_and_no_password(
    postgresql_url: str, change: tuple[str, str], complaint: str
) -> None:
    async with Database(postgresql_url.replace(*change)) as database:
        with pytest.raises(StorageError, match=complaint) as caught:
            await texts(database)
    assert ":***@" in str(caught.value)
    assert "tests" not in str(caught.value)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\x00" * 100], ids=repr)
async def test_a_server_of_something_else_is_no_database(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Database(f"postgresql://me:secret@127.0.0.1:{port}/mine") as database:
            with pytest.raises(StorageError, match=f"127.0.0.1:{port}/mine: cannot be reached: ") as caught:
                await texts(database)
    assert "secret" not in str(caught.value)


async def test_a_server_that_does_not_encrypt_is_not_talked_to_when_that_is_asked(
    postgresql_url: str,
) -> None:
    async with Database(f"{postgresql_url}?sslmode=require") as database:
        with pytest.raises(StorageError, match="Server refuses SSL"):
            await texts(database)


async def test_a_server_is_reached_by_the_folder_of_its_socket(
    postgres: Postgres, postgresql_url: str
) -> None:
    url = postgresql_url.replace("@127.0.0.1", "@") + f"?host={postgres.folder}"
    async with Database(url) as database:
        await make_table(database)
        assert await texts(database) == []
