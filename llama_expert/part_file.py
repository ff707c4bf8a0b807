"""A file in the making: written beside its destination, checked, then moved there in one step."""

import errno
import os
import shutil
from asyncio import to_thread
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import orjson

from clusterkit.errors import HearthError
from llama_expert.gguf import MAGIC, MEBIBYTE, GgufError, GgufHeader, read_header
from llama_expert.model_file import sha256_of

CHUNK_BYTES = MEBIBYTE


class ModelFileError(HearthError):
    """A model could not be fetched; the message says why. What was half-written is gone or can be resumed."""

    code = "model_file_error"


class NoSpaceError(ModelFileError):
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
    model: Callable[[GgufHeader, Path], None] = _anything  #: told the header, and where the file lies now


@dataclass(frozen=True)
class Origin:
    """What a half-written file came from; it is continued only if all of this is still the same."""

    url: str
    version: str  #: the server's ETag or Last-Modified, or ''
    total: int | None


class PartFile:
    """`NAME.part` next to its destination, and `NAME.part.json` that says where it comes from."""

    def __init__(self, destination: Path, progress: ProgressCallback) -> None:
        """Nothing is touched yet."""
        self.destination, self._progress = destination, progress
        self._part = destination.with_name(destination.name + ".part")
        self._note = destination.with_name(destination.name + ".part.json")

    def resumable(self, url: str) -> tuple[int, Origin] | None:
        """Bytes already there and their origin, when an earlier download of `url` was cut off."""
        try:
            origin = Origin(**orjson.loads(self._note.read_bytes()))
            have = self._part.stat().st_size
        except (OSError, orjson.JSONDecodeError, TypeError):
            return None
        return (have, origin) if origin.url == url and have else None

    async def write(self, chunks: AsyncIterator[bytes], origin: Origin, *, have: int) -> int:
        """Append `chunks` after the first `have` bytes, which stay; returns the size reached.

        Raises `NoSpaceError`, and `ModelFileError` when the first bytes are not those of a model.
        """
        await to_thread(self._make_room, origin, have)
        file = await to_thread(self._open, origin, have)
        done = have
        try:
            async for chunk in chunks:
                if done == 0 and not chunk.startswith(MAGIC):
                    raise ModelFileError(f"{origin.url} is no GGUF model file (it does not start with GGUF)")
                await to_thread(file.write, chunk)
                done += len(chunk)
                self._progress(DownloadProgress(done, origin.total))
            await to_thread(_flush, file)
        except ModelFileError:
            self.discard()
            raise
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self.discard()
            raise NoSpaceError(
                f"the disk under {self.destination.parent} is full; nothing was kept"
            ) from error
        finally:
            await to_thread(file.close)
        return done

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

    def _make_room(self, origin: Origin, have: int) -> None:
        folder = self.destination.parent
        folder.mkdir(parents=True, exist_ok=True)
        needed, free = (origin.total or 0) - have, shutil.disk_usage(folder).free
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
    """Run `checks` on a whole file that people know as `name`. Raises `ModelFileError`."""
    try:
        header = read_header(path)
    except GgufError as error:
        raise ModelFileError(str(error).replace(str(path), name)) from error
    actual = sha256_of(path) if checks.sha256 else None
    if actual != checks.sha256:
        raise ModelFileError(f"{name}: sha256 is {actual}, expected {checks.sha256}; it was not kept")
    checks.model(header, path)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _mb(size: int) -> int:
    return -(-size // MEBIBYTE)
