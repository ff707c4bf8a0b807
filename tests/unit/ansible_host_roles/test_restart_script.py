"""The restart script takes its steps in order, backs up before it changes anything, and says how it ended."""

import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.ansible_render import THREE_HOSTS, render

pytestmark = pytest.mark.timeout(300)

STUB = """#!/bin/bash
echo "{name} $*" >> "{calls}"
{then}
"""


class Desk:
    """A folder with a state folder, stubs for every program that the script calls, and their call list."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, folder / "calls"
        for made in ("state/pipecatapp", "backups", "log", "bin"):
            (folder / made).mkdir(parents=True)
        (folder / "state/pipecatapp/code").write_text("old")
        self.stub("nomad")
        self.stub("curl")
        self.stub("git", f'[ "$3" != merge ] || echo new > {folder}/state/pipecatapp/code')
        self.stub("runuser", '[ "$1" = --user ] && shift 3 && exec "$@"')

    def stub(self, name: str, then: str = "") -> None:
        path = self.folder / "bin" / name
        path.write_text(STUB.format(name=name, calls=self.calls, then=then))
        path.chmod(0o755)

    def run(self) -> tuple[int, list[str], str]:
        script = self.folder / "restart.sh"
        script.write_text(
            render(
                "common",
                "restart.sh.j2",
                THREE_HOSTS,
                "n1",
                variables={
                    "hearth_state_dir": str(self.folder / "state"),
                    "hearth_log_dir": str(self.folder / "log"),
                    "common_backup_dir": str(self.folder / "backups"),
                    "common_restart_timeout_s": 3,
                },
            )
        )
        done = subprocess.run(
            ["bash", str(script)],
            env={"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        calls = [line for line in self.calls.read_text().splitlines() if not line.startswith("runuser")]
        return done.returncode, calls, (self.folder / "log/restart.log").read_text()

    @property
    def backed_up(self) -> list[str]:
        """What the backups say the code was."""
        found = []
        for path in (self.folder / "backups").iterdir():
            with tarfile.open(path) as packed:
                code = packed.extractfile("./code")
                assert code is not None
                found.append(code.read().decode())
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.req("PRV-41")
def test_the_steps_run_in_order(desk: Desk) -> None:
    code, calls, log = desk.run()
    assert code == 0, log
    assert [" ".join(call.split()[:3]) for call in calls] == [
        "nomad job stop",
        f"git -C {desk.folder / 'state/pipecatapp/work-tree'}",
        f"git -C {desk.folder / 'state/pipecatapp/work-tree'}",
        "nomad job start",
        "curl --silent --show-error",
    ]
    assert "fetch" in calls[1]
    assert "merge" in calls[2]
    said = [line.split(" ", 1)[1].split()[0] for line in log.splitlines()]
    assert said == ["restart", "stopping", "fetching", "backing", "changing", "asking", "healthy"]


@pytest.mark.req("PRV-41")
def test_the_backup_holds_what_was_there_before(desk: Desk) -> None:
    desk.run()
    assert desk.backed_up == ["old"]
    assert (desk.folder / "state/pipecatapp/code").read_text() == "new\n"


@pytest.mark.req("PRV-41")
def test_without_a_backup_nothing_is_changed(desk: Desk) -> None:
    desk.stub("tar", "exit 1")
    code, calls, log = desk.run()
    assert code != 0
    assert not any("merge" in call for call in calls)
    assert calls[-1].startswith("nomad job start"), "the agent was left stopped"
    assert "failed at line" in log


@pytest.mark.req("PRV-41")
def test_a_failed_health_probe_is_logged_and_is_the_exit_code(desk: Desk) -> None:
    # The agent answers, but not that it is well: curl calls that a failure only when asked to.
    desk.stub("curl", 'case " $* " in *" --fail "*) exit 22 ;; esac')
    code, _, log = desk.run()
    assert code != 0
    assert "NOT healthy after 3 s; what was there before is in" in log
