"""One `hearth up` per state folder."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hearth.one_machine.lock import AlreadyRunningError, holder, refuse_when_held, sole_holder

HOLD = """
import sys
from pathlib import Path
from hearth.one_machine.lock import sole_holder
with sole_holder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "hearth.lock"


@pytest.fixture
def other(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_free_lock_has_no_holder(path: Path) -> None:
    assert holder(path) is None
    refuse_when_held(path)


def test_the_holder_is_known_by_its_process_id(path: Path, other: subprocess.Popen[str]) -> None:
    assert holder(path) == other.pid


def test_a_second_holder_is_refused_and_told_who_the_first_is(
    path: Path, other: subprocess.Popen[str]
) -> None:
    for refused in (lambda: sole_holder(path).__enter__(), lambda: refuse_when_held(path)):
        with pytest.raises(AlreadyRunningError, match=rf"process {other.pid}.*hearth down"):
            refused()


def test_the_lock_of_a_killed_holder_is_free(path: Path, other: subprocess.Popen[str]) -> None:
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert holder(path) is None
    with sole_holder(path):
        assert holder(path) == os.getpid()
    assert holder(path) is None


def test_the_lock_file_is_for_its_owner_alone(path: Path) -> None:
    with sole_holder(path):
        assert path.stat().st_mode & 0o777 == 0o600
