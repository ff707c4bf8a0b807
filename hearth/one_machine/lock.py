"""One `hearth up` per state folder: a lock that the kernel gives back when its holder dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clusterkit.errors import HearthError


class AlreadyRunningError(HearthError):
    """Another `hearth up` runs on the same state folder."""

    code = "already_running"


@contextmanager
def sole_holder(path: Path) -> Iterator[None]:
    """Hold the lock at `path`. Raises `AlreadyRunningError` naming the process that has it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _already_running(path, _read(descriptor)) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def refuse_when_held(path: Path) -> None:
    """Raises `AlreadyRunningError` when somebody holds the lock at `path`."""
    pid = holder(path)
    if pid is not None:
        raise _already_running(path, pid)


def _already_running(path: Path, pid: int | None) -> AlreadyRunningError:
    return AlreadyRunningError(
        f"Hearth is already running on {path.parent} (process {pid or 'unknown'}); "
        "see it with `hearth status`, stop it with `hearth down`"
    )


def holder(path: Path) -> int | None:
    """The process id of the lock's holder, or None when nobody holds it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    else:
        return None
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return int(text) if text.isdigit() else None
