"""One file from whichever of its sources has it."""

import asyncio
import fcntl
import os
from asyncio import to_thread
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from clusterkit.config.sources import Source
from clusterkit.fetch.download import copy_file, download
from clusterkit.fetch.packages import fetch_packages
from clusterkit.fetch.part_file import Checks, FetchError, NoSpaceError, PartFile, ProgressCallback
from clusterkit.storage.hashes import sha256_of

LOCK_POLL_SECONDS = 0.2  #: between two looks at whether another fetch of the same file has ended


async def fetch(
    sources: Sequence[Source],
    destination: Path,
    *,
    size: int | None,
    checks: Checks,
    progress: ProgressCallback,
) -> bool:
    """Make sure that `destination` is there and whole; whether it had to be fetched.

    The sources are tried in order, but one that an earlier attempt was cut off at goes first and goes on.
    `size` is the file's in bytes, which sources in packages need. While another process fetches the same
    file, this waits and then finds it. Raises `FetchError` that names every source with its reason,
    `NoSpaceError` when the disk is too small, and what the checks raise.
    """
    async with _alone(destination):
        if await to_thread(_is_there, destination, checks):
            return False
        begun = await to_thread(PartFile(destination, progress).begun)
        reasons = []
        for source in sorted(sources, key=lambda one: begun is None or not begun.url.startswith(str(one))):
            try:
                await _fetch_from(source, destination, size, checks, progress)
            except NoSpaceError:
                raise
            except FetchError as error:
                reasons.append(f"{source}: {str(error).removeprefix(f'{source}: ')}")
            else:
                return True
    raise FetchError(f"{destination.name} could not be fetched: {'; '.join(reasons)}")


def _is_there(destination: Path, checks: Checks) -> bool:
    return destination.is_file() and (checks.sha256 is None or sha256_of(destination) == checks.sha256)


async def _fetch_from(
    source: Source, destination: Path, size: int | None, checks: Checks, progress: ProgressCallback
) -> None:
    if source.packages is not None:
        if size is None:
            raise FetchError("the size of the whole is not known")
        await fetch_packages(source.packages, destination, size=size, checks=checks, progress=progress)
    elif source.local_path is not None:
        await copy_file(source.local_path, destination, checks=checks, progress=progress)
    elif source.url is not None:
        await download(source.url, destination, checks=checks, progress=progress)
    else:
        raise FetchError("this Python package, which ships it, is not installed")


@asynccontextmanager
async def _alone(destination: Path) -> AsyncIterator[None]:
    """Hold the lock beside `destination`, which the kernel gives back when this process dies."""
    path = destination.with_name(f".{destination.name}.lock")
    await to_thread(path.parent.mkdir, parents=True, exist_ok=True)
    while True:  # a thread that waits for the lock could not be cancelled
        descriptor = await to_thread(_locked, path)
        if descriptor is not None:
            break
        await asyncio.sleep(LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: who waits sees that it is gone and makes another
        os.close(descriptor)


def _locked(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
