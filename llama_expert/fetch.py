"""`python -m llama_expert.fetch URL FILE [SHA256]`: brings one model file to this host, or finds it there.

Prints `present` or `fetched`. A download that was cut off goes on where it ended.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from clusterkit.errors import SettingsError
from clusterkit.http.process import run
from llama_expert.download import download
from llama_expert.model_file import VerifiedHashes
from llama_expert.part_file import Checks, DownloadProgress


def _quiet(_: DownloadProgress) -> None:
    """Whoever calls this shows no progress."""


async def fetch(url: str, destination: Path, sha256: str | None) -> bool:
    """Make sure that `destination` is there with that hash; whether it had to be fetched.

    Raises `ModelFileError`; a file that fails its check does not get the name.
    """
    hashes = VerifiedHashes(destination.parent / ".verified.json")
    if await asyncio.to_thread(_present, destination, sha256, hashes):
        return False
    await download(url, destination, checks=Checks(sha256), progress=_quiet)
    if sha256 is not None:
        await asyncio.to_thread(hashes.sha256, destination)  # the next look then costs nothing
    return True


def _present(file: Path, sha256: str | None, hashes: VerifiedHashes) -> bool:
    return file.is_file() and (sha256 is None or hashes.sha256(file) == sha256)


async def main(arguments: Sequence[str]) -> None:
    """Fetch what the arguments name. Raises `HearthError`."""
    if len(arguments) not in (2, 3):
        raise SettingsError(
            f"python -m llama_expert.fetch URL FILE [SHA256]: {len(arguments)} words were given"
        )
    url, file, *rest = arguments
    fetched = await fetch(url, Path(file), rest[0] if rest else None)
    sys.stdout.write("fetched\n" if fetched else "present\n")


if __name__ == "__main__":
    sys.exit(run(lambda: main(sys.argv[1:])))
