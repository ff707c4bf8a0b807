"""The ordinary clients of package registries, as child processes: one archive into an empty folder.

Where packages come from is the person's own configuration of these programs; no address is named here.
"""

import asyncio
import os
import re
import shutil
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from clusterkit.config.environment import environment
from clusterkit.fetch.part_file import FetchError, NoSpaceError

#: What a client may say nothing for, in seconds; its own tries and time limits end sooner.
SILENCE_SECONDS = 180.0
SUFFIXES = {".whl", ".tgz"}  #: of archives that can be read
KEPT_LINES = 20  #: of what a client says, to find its reason in
_PIP_PROGRESS = re.compile(r"Progress (\d+) of \d+")  #: `--progress-bar raw`, since pip 24.1
_DISK_FULL = "No space left on device"

BytesCallback = Callable[[int], None]  #: told how many bytes of the archive are here


async def download_archive(
    registry: str, name: str, version: str, folder: Path, *, progress: BytesCallback
) -> Path:
    """Have the registry's client put the package's archive (a wheel, a tarball) into the empty `folder`.

    Raises `FetchError` with the client's reason, `NoSpaceError` when the disk was full.
    """
    await _run(_command(registry, name, version, folder), f"{name} {version}", progress)
    archives = await asyncio.to_thread(_archives, folder)
    if len(archives) != 1:
        raise FetchError(f"{name} {version}: {len(archives)} archives came in place of one")
    return archives[0]


def _archives(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix in SUFFIXES]


def _command(registry: str, name: str, version: str, folder: Path) -> Sequence[str]:
    if registry == "npm":
        npm = shutil.which("npm")
        if npm is None:
            raise FetchError(f"{name} {version}: npm, which fetches it, is not installed")
        options = ("--ignore-scripts", "--silent", "--pack-destination", str(folder))
        return (npm, "pack", f"{name}@{version}", *options)
    return (
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary", ":all:"),
        *("--no-input", "--disable-pip-version-check", "--no-color", "--progress-bar", "raw"),
        *("--dest", str(folder), f"{name}=={version}"),
    )


async def _run(command: Sequence[str], what: str, progress: BytesCallback) -> None:
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "KILL", "--", *command),
        env=environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    said: deque[str] = deque(maxlen=KEPT_LINES)
    try:
        assert process.stdout is not None
        while line := await asyncio.wait_for(process.stdout.readline(), SILENCE_SECONDS):
            text = line.decode("utf-8", "replace").strip()
            if found := _PIP_PROGRESS.fullmatch(text):
                progress(int(found[1]))
            elif text:
                said.append(text)
        status = await process.wait()
    except TimeoutError as error:
        raise FetchError(f"{what}: nothing came for {SILENCE_SECONDS:.0f} s") from error
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if any(_DISK_FULL in line for line in said):
        raise NoSpaceError(f"{what}: the disk is full; whole parts are kept, the same command goes on")
    if status != 0:
        raise FetchError(f"{what}: {_reason(said, status)}")


def _reason(said: Sequence[str], status: int) -> str:
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith(("ERROR:", "npm error"))]
    return errors[-1] if errors else f"the client ended with status {status}"
