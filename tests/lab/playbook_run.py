"""One run of a playbook: what it said, what it changed on which host, and where the time went."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clusterkit.config.environment import environment
from tests.lab.engine import LabError

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

PLAY = re.compile(r"^PLAY \[(.*?)\] \**$")
TASK = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(.*?)\] \**$")
#: A task may be done for a host elsewhere: `[n4 -> n1(10.77.0.11)]`.
CHANGED = re.compile(r"^changed: \[([^\] ]+)[^\]]*\]")
RECAP = re.compile(
    r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)\s+skipped=(\d+)"
    r"\s+rescued=(\d+)\s+ignored=(\d+)"
)


@dataclass(frozen=True)
class Recap:
    """The last word about one host."""

    ok: int
    changed: int
    unreachable: int
    failed: int
    skipped: int
    rescued: int
    ignored: int


@dataclass
class PlaybookRun:
    """What became of a playbook."""

    returncode: int = -1
    output: str = ""
    seconds: float = 0.0
    hosts: dict[str, Recap] = field(default_factory=dict)
    plays: dict[str, float] = field(default_factory=dict)
    roles: dict[str, float] = field(default_factory=dict)
    tasks: list[tuple[str, float]] = field(default_factory=list)
    changes: list[tuple[str, str]] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Whether nothing failed anywhere."""
        return self.returncode == 0

    @property
    def changed(self) -> int:
        """How many tasks changed something, over all hosts."""
        return sum(recap.changed for recap in self.hosts.values())

    def expect_success(self) -> "PlaybookRun":
        """Itself, or an error with the end of the output."""
        if not self.succeeded:
            raise LabError(f"the playbook ended with {self.returncode}:\n{self.output[-6000:]}")
        return self


@dataclass
class _Reader:
    """Reads the output line by line and looks at the clock at every headline."""

    run: PlaybookRun
    began: float
    play: tuple[str, float] | None = None
    task: tuple[str, float] | None = None

    def line(self, text: str, now: float) -> None:
        if match := PLAY.match(text):
            self._close(now)
            self.play = (match[1], now)
        elif match := TASK.match(text):
            self._close_task(now)
            self.task = (match[1], now)
        elif match := CHANGED.match(text):
            self.run.changes.append((match[1], self.task[0] if self.task else ""))
        elif text.startswith("PLAY RECAP"):
            self._close(now)
        elif match := RECAP.match(text):
            self.run.hosts[match[1]] = Recap(*map(int, match.groups()[1:]))

    def _close(self, now: float) -> None:
        self._close_task(now)
        if self.play:
            name, began = self.play
            self.run.plays[name] = self.run.plays.get(name, 0.0) + now - began
            self.play = None

    def _close_task(self, now: float) -> None:
        if self.task:
            name, began = self.task
            self.run.tasks.append((name, now - began))
            role = name.split(" : ")[0] if " : " in name else "(playbook)"
            self.run.roles[role] = self.run.roles.get(role, 0.0) + now - began
            self.task = None


def run_playbook(
    argv: Sequence[str],
    extra_environment: Mapping[str, str],
    *,
    log_file: Path,
    timeout: float,
    echo: bool = False,
) -> PlaybookRun:
    """Run `ansible-playbook` with these arguments from the repository's root."""
    result = PlaybookRun()
    began = time.monotonic()
    reader = _Reader(result, began)
    lines: list[str] = []
    process = subprocess.Popen(
        [str(BIN / "ansible-playbook"), *argv],
        cwd=ROOT,
        env=ansible_environment(extra_environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    watch = threading.Timer(timeout, _kill_group, [process])
    watch.start()
    try:
        assert process.stdout is not None
        with process.stdout, log_file.open("a") as log:
            log.write(f"$ ansible-playbook {' '.join(argv)}\n")
            for line in process.stdout:
                reader.line(line.rstrip("\n"), time.monotonic())
                lines.append(line)
                log.write(line)
                log.flush()
                if echo:
                    sys.stdout.write(line)
                    sys.stdout.flush()
        result.returncode = process.wait()
    finally:
        watch.cancel()
        if process.poll() is None:
            _kill_group(process)
            process.wait()
    result.seconds = time.monotonic() - began
    result.output = "".join(lines)
    if result.seconds >= timeout:
        raise LabError(
            f"ansible-playbook {' '.join(argv)}: not done within {timeout:g} s\n{result.output[-3000:]}"
        )
    return result


def _kill_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def ansible_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a playbook: this repository's settings and nobody's own."""
    kept = {name: value for name, value in environment().items() if not name.startswith("ANSIBLE_")}
    return {
        **kept,
        "PATH": f"{BIN}:{kept.get('PATH', '')}",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORCE_COLOR": "0",
        "PYTHONUNBUFFERED": "1",
        **extra,
    }
