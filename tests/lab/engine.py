"""The Docker engine: there or started, and its command line called with a deadline each time."""

import fcntl
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from clusterkit.config.environment import environment
from clusterkit.errors import HearthError
from tests.watchdog import VARIABLE

CACHE = Path(environment().get("HOME", "/root")) / ".cache" / "hearth" / "lab"
PROGRAMS = {
    "docker": "docker.io",
    "dockerd": "docker.io",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "mkfs.ext4": "e2fsprogs",
}
#: What other tests start.
TEST_PROGRAMS = {
    "/usr/lib/postgresql/15/bin/postgres": "postgresql",
    "curl": "curl",
    "openssl": "openssl",
}
BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
START_SECONDS = 60


class LabError(HearthError):
    """Something of the lab did not do what it was told."""


class LabUnavailable(LabError):
    """This machine cannot carry a lab; the message says what it lacks."""


def run(
    argv: Sequence[str], *, timeout: float = 60, check: bool = True, given: str | bytes | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, or to the deadline; a failure quotes what it said."""
    try:
        done = subprocess.run(
            argv,
            input=given.encode() if isinstance(given, str) else given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabUnavailable(f"{argv[0]} is not installed on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(argv)[:300]}: not done within {timeout:g} s") from error
    text = subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )
    if check and done.returncode != 0:
        said = (text.stderr.strip() or text.stdout.strip())[-2000:]
        raise LabError(f"{' '.join(argv)[:300]}: exit status {done.returncode}: {said}")
    return text


def docker(
    *arguments: str, timeout: float = 60, check: bool = True, given: str | bytes | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `docker` with these arguments."""
    return run(["docker", *arguments], timeout=timeout, check=check, given=given)


def run_label() -> tuple[str, ...]:
    """Arguments that mark a container or an image as this test run's, which its watchdog then removes."""
    run = environment().get(VARIABLE)
    return ("--label", f"{VARIABLE}={run}") if run else ()


def pause(seconds: float) -> None:
    """Wait before looking again; only for polling with an end."""
    threading.Event().wait(seconds)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the machine-wide lock `name`, so that two labs do not make the same thing at once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def missing_packages(programs: Mapping[str, str]) -> list[str]:
    """Debian packages of these programs (program → package) that this machine lacks."""
    return sorted({package for program, package in programs.items() if shutil.which(program) is None})


def install_packages() -> None:
    """Install what the lab and the tests lack, from Debian; needs root."""
    missing = missing_packages({**PROGRAMS, **TEST_PROGRAMS})
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise LabUnavailable(f"lab and tests need Debian's {', '.join(missing)}; install them as root")
    run(["apt-get", "update"], timeout=300)
    run(["apt-get", "install", "-y", "--no-install-recommends", *missing], timeout=600)


def running() -> bool:
    """Whether an engine answers."""
    return shutil.which("docker") is not None and docker("version", check=False).returncode == 0


def ensure_engine() -> None:
    """Return once an engine answers; start one where none does, or say what this machine lacks."""
    missing = missing_packages(PROGRAMS)
    if missing:
        raise LabUnavailable(
            f"the lab needs Debian's {', '.join(missing)}; install them: python -m tests.lab setup"
        )
    with locked("engine"):
        if not running():
            _start_engine()
    if BRIDGE_FILTER.is_file() and BRIDGE_FILTER.read_text().strip() == "0":
        run(["sysctl", "-w", "net.bridge.bridge-nf-call-iptables=1"])


def _start_engine() -> None:
    log = CACHE / "dockerd.log"
    with log.open("a") as output:
        process = subprocess.Popen(
            ["dockerd"],
            # Other runs of tests use it too.
            env={name: value for name, value in environment().items() if name != VARIABLE},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    # The engine outlives this process; until then somebody has to wait for it.
    threading.Thread(target=process.wait, daemon=True).start()
    until = time.monotonic() + START_SECONDS
    while not running():
        if process.returncode is not None or time.monotonic() > until:
            process.kill()
            lines = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise LabUnavailable("this machine cannot run the Docker engine: " + " | ".join(lines))
        pause(0.3)
