"""A file in the making: written beside its destination, checked, then moved there in one step."""

import errno
import os
import shutil
from asyncio import to_thread
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

import orjson

from clusterkit.errors import HearthError
from clusterkit.storage.files import write_whole
from clusterkit.storage.hashes import sha256_of

MEBIBYTE = 1 << 20
CHUNK_BYTES = MEBIBYTE


class FetchError(HearthError):
    """A file could not be fetched; the message says why. What was half-written is gone or can be resumed."""

    code = "fetch_failed"


class NoSpaceError(FetchError):
    """The disk has too little room."""

    code = "no_space"


@dataclass(frozen=True)
class DownloadProgress:
    """How far a copy or download has come, in bytes."""

    done: int
    total: int | None


ProgressCallback = Callable[[DownloadProgress], None]


def _anything(*_: object) -> None:
    """The check that refuses nothing."""


@dataclass(frozen=True)
class Checks:
    """What a file must pass before it gets its name; a check refuses by raising a `HearthError`."""

    sha256: str | None = None
    size: Callable[[int], None] = _anything  #: told the size in bytes before anything is fetched
    start: Callable[[bytes], None] = _anything  #: told the first bytes, before they are written
    whole: Callable[[Path], None] = _anything  #: told where the whole file lies; blocks


@dataclass(frozen=True)
class Origin:
    """What a half-written file came from; it is continued only if all of this is still the same."""

    url: str  #: or what names the packages
    version: str  #: the server's ETag or Last-Modified, or ''
    total: int | None
    parts: tuple[int, ...] = ()  #: sizes of the packages' parts that are whole


class PartFile:
    """`NAME.part` next to its destination, and `NAME.part.json` that says where it comes from."""

    def __init__(self, destination: Path, progress: ProgressCallback) -> None:
        """Nothing is touched yet."""
        self.destination, self._progress = destination, progress
        self._part = destination.with_name(destination.name + ".part")
        self._note = destination.with_name(destination.name + ".part.json")

    def begun(self) -> Origin | None:
        """What an earlier attempt that was cut off was fetching from."""
        try:
            noted = orjson.loads(self._note.read_bytes())
            return Origin(**{**noted, "parts": tuple(noted["parts"])})
        except (OSError, orjson.JSONDecodeError, TypeError, KeyError):
            return None

    def resumable(self, url: str) -> tuple[int, Origin] | None:
        """Bytes already there and their origin, when an earlier download of `url` was cut off."""
        origin = self.begun()
        if origin is None or origin.url != url or not self._part.exists():
            return None
        have = self._part.stat().st_size
        return (have, origin) if have else None

    async def write(self, chunks: AsyncIterator[bytes], origin: Origin, *, have: int, checks: Checks) -> int:
        """Append `chunks` after the first `have` bytes, which stay; returns the size reached.

        Raises `NoSpaceError`, and what `checks` raise about the first bytes.
        """
        await to_thread(self.make_room, (origin.total or 0) - have)
        file = await to_thread(self._open, origin, have)
        done = have
        try:
            async for chunk in chunks:
                if done == 0:
                    checks.start(chunk)
                await to_thread(file.write, chunk)
                done += len(chunk)
                self._progress(DownloadProgress(done, origin.total))
            await to_thread(_flush, file)
        except HearthError:
            self.discard()
            raise
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self.discard()
            raise NoSpaceError(_disk_full(self.destination.parent, 0)) from error
        finally:
            await to_thread(file.close)
        return done

    def append_part(self, chunks: Iterable[bytes], origin: Origin, checks: Checks) -> Origin:
        """Add a whole part of `origin` after those that are there; returns the origin with it. Blocks.

        A part counts once it and the note about it are on disk: whatever ends this process before that, the
        next attempt cuts it off again. Raises as `write` does; whole parts before it stay.
        """
        have = done = sum(origin.parts)
        try:
            with self._part.open("r+b" if have else "wb") as file:
                file.truncate(have)
                file.seek(have)
                for chunk in chunks:
                    if done == 0:
                        checks.start(chunk)
                    done += len(chunk)
                    if origin.total is not None and done > origin.total:
                        raise FetchError(f"{origin.url} holds more than the {origin.total} bytes of the file")
                    file.write(chunk)
                _flush(file)
            kept = replace(origin, parts=(*origin.parts, done - have))
            write_whole(self._note, orjson.dumps(asdict(kept)), mode=0o644)
        except HearthError:
            self.discard()
            raise
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            os.truncate(self._part, have)
            raise NoSpaceError(_disk_full(self.destination.parent, have)) from error
        return kept

    async def finish(self, checks: Checks) -> None:
        """Check the file and move it to its destination. When it is refused nothing stays of it."""
        try:
            await to_thread(check_file, self._part, self.destination.name, checks)
        except HearthError:
            self.discard()
            raise
        await to_thread(self._move)

    def discard(self) -> None:
        """Remove what was written so far."""
        self._part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _open(self, origin: Origin, have: int) -> BinaryIO:
        self._note.write_bytes(orjson.dumps(asdict(origin)))
        file = self._part.open("r+b" if have else "wb")
        file.truncate(have)
        file.seek(have)
        return file

    def make_room(self, needed: int) -> None:
        """See that the disk has `needed` bytes. Blocks; raises `NoSpaceError`."""
        folder = self.destination.parent
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise NoSpaceError(
                f"{folder}: {self.destination.name} needs {_mb(needed)} MB more, {_mb(free)} MB are free"
            )

    def _move(self) -> None:
        self._part.replace(self.destination)
        self._note.unlink(missing_ok=True)
        folder = os.open(self.destination.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_file(path: Path, name: str, checks: Checks) -> None:
    """Run `checks` on a whole file that people know as `name`. Blocks; raises what they raise."""
    checks.whole(path)
    actual = sha256_of(path) if checks.sha256 else None
    if actual != checks.sha256:
        raise FetchError(f"{name}: sha256 is {actual}, expected {checks.sha256}; it was not kept")


def _disk_full(folder: Path, kept: int) -> str:
    resume = f"{kept} bytes are kept, the same command goes on from there" if kept else "nothing was kept"
    return f"the disk under {folder} is full; {resume}"


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _mb(size: int) -> int:
    return -(-size // MEBIBYTE)
