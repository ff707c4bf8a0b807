"""One host of a lab: commanded, hurt and mended from outside, so that no fault can lock us out."""

import io
import json
import subprocess
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.engine import LabError, docker, pause

BOOT_SECONDS = 60
FILL = ".lab-fill"

#: Lays a file system with 1 MB to spare and the same content over the folder $0.
OVERLAY = """
mkdir -p "$0"
size=$(du -sk "$0" | cut -f1)
new=$(mktemp -d)
mount -t tmpfs -o size=$((size + 1024))k,mode=$(stat -c %a "$0") lab-small "$new"
cp -a "$0/." "$new"
mount --bind "$new" "$0"
umount "$new"
rmdir "$new"
"""
#: Takes it away again and keeps what was written meanwhile.
UNCOVER = """
under=$(mktemp -d)
mount --bind / "$under"
find "$under$0" -mindepth 1 -delete
cp -a "$0/." "$under$0"
umount "$0" "$under"
rmdir "$under"
"""


@dataclass
class Host:
    """A container that behaves like a machine: it boots, has a disk and an address, and can lose power."""

    name: str
    container: str
    address: str
    group: str
    number: int
    disks: dict[str, str] = field(default_factory=dict)

    def exec(
        self, argv: Sequence[str], *, timeout: float = 60, check: bool = True, given: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root on the host; this needs neither its network nor its sshd."""
        interactive = ["-i"] if given is not None else []
        return docker("exec", *interactive, self.container, *argv, timeout=timeout, check=check, given=given)

    def shell(self, script: str, *, timeout: float = 60, check: bool = True) -> str:
        """What a shell script prints on the host, without the last line end."""
        return self.exec(["sh", "-c", script], timeout=timeout, check=check).stdout.strip()

    def read(self, path: str) -> str:
        """The text of a file."""
        return self.exec(["cat", path]).stdout

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        """Write a file as root."""
        self.exec(["sh", "-c", 'umask 077; cat >"$0" && chmod "$1" "$0"', path, mode], given=text)

    @property
    def runs(self) -> bool:
        """Whether the host has power."""
        done = docker("inspect", "--format", "{{.State.Running}}", self.container, check=False)
        return done.stdout.strip() == "true"

    def wait_until_booted(self, within: float = BOOT_SECONDS) -> None:
        """Return once systemd has started everything and sshd listens."""
        until = time.monotonic() + within
        state = ""
        while time.monotonic() < until:
            done = self.exec(["systemctl", "is-system-running"], check=False)
            state = done.stdout.strip()
            if state in ("running", "degraded"):
                if self.exec(["systemctl", "is-active", "--quiet", "ssh"], check=False).returncode == 0:
                    return
                state += ", but sshd is not"
            pause(0.1)
        raise LabError(f"{self.name} did not boot within {within:g} s: systemd says {state or 'nothing'}")

    # --- processes ---------------------------------------------------------------------------------

    def pids(self, pattern: str) -> list[int]:
        """Processes whose command line matches a regular expression, oldest first."""
        found = self.exec(["pgrep", "-f", "--", pattern], check=False).stdout.split()
        return [int(pid) for pid in found]

    def started(self, pattern: str) -> dict[int, int]:
        """When each matching process began, in clock ticks; the same again = not restarted."""
        stats = {}
        for pid in self.pids(pattern):
            stat = self.exec(["cat", f"/proc/{pid}/stat"], check=False).stdout
            if stat:
                stats[pid] = int(stat.rpartition(")")[2].split()[19])
        return stats

    def kill(self, target: str | int, signal: str = "KILL") -> list[int]:
        """Send a signal to one process id, or to all processes that match a pattern; says to which."""
        pids = [target] if isinstance(target, int) else self.pids(target)
        if not pids:
            raise LabError(f"{self.name}: no process matches {target!r}")
        self.exec(["kill", f"-{signal}", *map(str, pids)])
        return pids

    def freeze(self, pattern: str | None = None) -> None:
        """Stop the matching processes without ending them; without a pattern, the whole host."""
        if pattern is None:
            docker("pause", self.container)
        else:
            self.kill(pattern, "STOP")

    def thaw(self, pattern: str | None = None) -> None:
        """Let go on what `freeze` stopped."""
        if pattern is None:
            docker("unpause", self.container)
        else:
            self.kill(pattern, "CONT")

    # --- disks -------------------------------------------------------------------------------------

    def fill_disk(self, path: str, spare_kb: int = 0) -> None:
        """Leave no space, or `spare_kb`, for writing under `path`.

        Under a disk of its own (`Lab(disks=…)`) running programs meet the full disk at once. Elsewhere a
        small file system with the same content is laid over the folder: stop its users before and after.
        """
        mounted = self.shell(f"findmnt -n -o TARGET -T '{path}'")
        if mounted == "/":
            self._overlay(path)
        free = int(self.shell(f"df --output=avail -k '{path}' | tail -1"))
        if free > spare_kb:
            self.exec(["fallocate", "-l", f"{free - spare_kb}KiB", f"{path}/{FILL}"], check=False)
        if spare_kb == 0:
            self.exec(["dd", "if=/dev/zero", f"of={path}/{FILL}-rest", "bs=4k"], check=False, timeout=120)

    def free_disk(self, path: str) -> None:
        """Give the space back."""
        self.exec(["rm", "-f", f"{path}/{FILL}", f"{path}/{FILL}-rest"])
        if path in self.shell("findmnt -n -l -t tmpfs -o TARGET").splitlines():
            self._uncover(path)

    def _overlay(self, path: str) -> None:
        self.exec(["sh", "-ec", OVERLAY, path])

    def _uncover(self, path: str) -> None:
        self.exec(["sh", "-ec", UNCOVER, path])

    # --- power -------------------------------------------------------------------------------------

    def power_off(self) -> None:
        """Cut the power: every process dies at once, nothing is flushed or said to the others."""
        docker("kill", "--signal", "KILL", self.container)

    def boot(self, *, wait: bool = True) -> None:
        """Turn the host on again, with the disk as it was."""
        docker("start", self.container)
        if wait:
            self.wait_until_booted()

    # --- as files know it --------------------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """For the lab's state file."""
        return dict(vars(self))


def files_archive(files: dict[str, tuple[str, int]]) -> bytes:
    """A tar of `{path: (text, mode)}`, owned by root, for `docker cp -`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, (text, mode) in files.items():
            folders = list(Path(path).parents)[-2::-1]
            for folder in folders if path.startswith("root/") else []:
                entry = tarfile.TarInfo(str(folder))
                entry.type, entry.mode = tarfile.DIRTYPE, 0o700
                archive.addfile(entry)
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(text.encode()), mode
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def dump(value: Any) -> str:
    """JSON, for people and programs."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"
