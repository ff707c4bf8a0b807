"""A real PostgreSQL for the tests that need one, of Debian's package: its own folder, user and port."""

import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any, Self

import pg8000.dbapi
import pytest

from tests.servers.free_ports import free_ports

FOLDERS = Path("/usr/lib/postgresql")  #: where Debian installs one folder a version
START_SECONDS = 60
DATABASE, PASSWORD = (
    "postgres",
    "a pass/word:of@tests",
)  #: of all; the cluster has this database from the start
ENCODED_PASSWORD = "a%20pass%2Fword%3Aof%40tests"
ROOT_RUNS_IT_AS = "postgres"  #: the server refuses to run as root


def programs() -> Path | None:
    """The folder of the newest version's programs, None where there is none."""
    found = sorted(FOLDERS.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class Postgres:
    """One server. Use as a context manager; the kernel ends it when this process dies before."""

    def __init__(self, programs: Path) -> None:
        """`programs` is the folder of initdb and postgres. Nothing is started yet."""
        self._programs = programs
        self.folder = Path(mkdtemp(prefix="hearth-postgres-", dir="/tmp"))
        self.port = free_ports(1)[0]
        self._server: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        """Make the cluster and start it."""
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (self.folder, password):
                shutil.chown(path, ROOT_RUNS_IT_AS)
        # A language's order of letters, as servers have it and SQLite does not.
        command: list[str | Path] = [
            *self._as_its_user(), self._programs / "initdb", "--pgdata", self.folder / "data",
            "--username", ROOT_RUNS_IT_AS, "--pwfile", password, "--auth", "scram-sha-256",
            "--encoding", "UTF8", "--locale", "C.UTF-8", "--locale-provider", "icu", "--icu-locale", "en-US",
            "--no-sync",
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, timeout=START_SECONDS)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it and forget it."""
        self.kill()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start the server and wait until it answers. It ends with the thread that calls this."""
        log = (self.folder / "log").open("ab")
        self._server = subprocess.Popen(
            [
                *self._as_its_user(), self._programs / "postgres", "-D", self.folder / "data",
                "-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}",
                "-c", f"unix_socket_directories={self.folder}",
                "-c", "fsync=off",  # processes are killed here, machines are not
            ],
            stdout=log, stderr=log, cwd=self.folder,
        )  # fmt: skip
        log.close()
        ready: list[str | Path] = [
            self._programs / "pg_isready",
            "--host",
            self.folder,
            "--port",
            str(self.port),
        ]
        for _ in range(START_SECONDS * 10):
            if subprocess.run([*ready, "--timeout", "1"], capture_output=True).returncode == 0:
                return
            try:
                self._server.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
            break
        raise AssertionError(f"PostgreSQL does not start:\n{(self.folder / 'log').read_text()}")

    def kill(self) -> None:
        """End it at once, with all connections."""
        if self._server is not None:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait(START_SECONDS)
            self._server = None

    @contextmanager
    def down(self) -> Iterator[None]:
        """The server is gone, and back at the end."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    def new_database(self) -> str:
        """The URL of what is an empty database to its user: a schema of its own, made in no time."""
        user = f"hearth_{next(self._numbers)}"
        self.run_sql(f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'")
        self.run_sql(f"CREATE SCHEMA AUTHORIZATION {user}")
        return f"postgresql://{user}:{ENCODED_PASSWORD}@127.0.0.1:{self.port}/{DATABASE}"

    def run_sql(self, statement: str) -> list[Any]:
        """The rows of a statement that the superuser runs."""
        connection = pg8000.dbapi.connect(
            ROOT_RUNS_IT_AS, "127.0.0.1", DATABASE, self.port, PASSWORD, timeout=START_SECONDS
        )
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(statement)
        rows = list(cursor.fetchall()) if cursor.description else []
        connection.close()
        return rows

    def _as_its_user(self) -> list[str]:
        root = ["--reuid", ROOT_RUNS_IT_AS, "--regid", ROOT_RUNS_IT_AS, "--clear-groups"]
        return ["setpriv", *(root if os.geteuid() == 0 else []), "--pdeathsig", "QUIT"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server that tests share, each with a database of its own; skips, loudly, where there is none."""
    folder = programs()
    if folder is None:
        pytest.skip(f"NO POSTGRESQL ON THIS MACHINE: no {FOLDERS}/*/bin; install Debian's package postgresql")
    with Postgres(folder) as server:
        yield server
