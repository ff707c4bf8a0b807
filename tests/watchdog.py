"""Ends what a killed test run leaves behind: `watchdog.py RUN`, with a pipe from that run as its input.

Every process that the run started has the run's id in its environment, and every container and image of the
Docker engine has it as a label. A run that ends by itself says so. When the pipe closes without a word, the
run was killed, and so is all that it started. Only what every Python has is imported: one of these starts
with each run.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: In the environment of every process that a run of tests starts, and a label of its containers and images.
VARIABLE = "TEST_RUN"
ENDED = b"ended\n"
WITHIN_S = 20.0
#: What is ended may have started something a moment before.
QUIET_ROUNDS = 3
PAUSE_S = 0.2
SWEEP_S = 300.0
DOCKER_S = 60.0


def started_by(mark: bytes) -> Iterator[int]:
    """Ids of the processes with this in their environment."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    yield int(folder.name)


def end_all(mark: bytes) -> None:
    """Kill them until none is left, or `WITHIN_S` have passed."""
    until, quiet = time.monotonic() + WITHIN_S, 0
    while quiet < QUIET_ROUNDS and time.monotonic() < until:
        left = list(started_by(mark))
        quiet = 0 if left else quiet + 1
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        threading.Event().wait(PAUSE_S)


def remove_labelled(mark: str) -> None:
    """Remove the containers, then the images, of the Docker engine that have this label."""
    for list_, remove in (
        (("container", "ls", "--all"), ("container", "rm", "--force", "--volumes")),
        (("image", "ls"), ("image", "rm", "--force", "--no-prune")),
    ):
        left = _docker(*list_, "--quiet", "--filter", f"label={mark}").split()
        if left:
            _docker(*remove, *dict.fromkeys(left))


def _docker(*arguments: str) -> str:
    argv = ["docker", *arguments]
    return subprocess.run(argv, check=False, timeout=DOCKER_S, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    """Wait for the end of the run; labs whose process is gone are swept where there is an engine."""
    if sys.stdin.buffer.read() == ENDED:
        return
    mark = f"{VARIABLE}={sys.argv[1]}"
    end_all(mark.encode())
    if Path("/var/run/docker.sock").exists():
        remove_labelled(mark)
        sweep = [sys.executable, "-m", "tests.lab", "sweep"]
        subprocess.run(sweep, cwd=ROOT, check=False, timeout=SWEEP_S, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
