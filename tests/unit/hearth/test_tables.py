"""Everything that the command shows in tables fits the terminal, and loses nothing where there is none."""

import fcntl
import os
import pickle
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from clusterkit.config.environment import environment
from clusterkit.ports.jobs import JobState, JobStatus
from clusterkit.ports.registry import Instance
from hearth.cluster.state import ClusterState, Host, cluster_report
from hearth.findings import broken, findings_report, good
from hearth.one_machine.models import models_table
from hearth.one_machine.startup import urls
from hearth.one_machine.state import MachineState, machine_report
from hearth.tables import Report

URL_HOST = "a-host-with-a-rather-long-name.in-a-network-with-an-even-longer-one.example.org"
REASON = "the registry has not answered since this service was started by the launcher " * 4 + "at noon"
MODEL = "qwen2.5-coder-32b-instruct-with-a-long-name.q4_k_m"
SHOW = """
import pickle, sys
from pathlib import Path
from hearth.console import print_report
print_report(pickle.loads(Path(sys.argv[1]).read_bytes()), as_json=False)
"""

GATEWAY = Instance(service="moe-gateway", id="g", address=URL_HOST, port=8001, detail=REASON)
EXPERT = Instance(service="expert-main", id="e", address="10.0.0.7", port=4000, meta={"model": MODEL})
JOBS = (JobStatus(name="moe_gateway", state=JobState.BACKING_OFF, pid=4194304, restarts=1000),)
MACHINE = MachineState(jobs=JOBS, instances={"moe_gateway": (GATEWAY,), "llama_expert": (EXPERT,)})
HOSTS = (
    Host(
        name="controller-1.example.org",
        address="10.0.0.7",
        alive=True,
        server=True,
        nomad="a word of Nomad's that nobody has seen before",
        eligible=True,
        draining=False,
    ),
)
ROWS = [
    {
        "expert": "summarization",
        "name": MODEL,
        "memory_mb": 20000,
        "bytes": 2 * 10**10,
        "fits": True,
        "present": True,
        "active": False,
    }
]
REPORTS = {
    "status here": machine_report(MACHINE),
    "status of a cluster": cluster_report(
        ClusterState(hosts=HOSTS, services=(GATEWAY, EXPERT), jobs=JOBS, problems=("Consul is away",))
    ),
    "doctor": findings_report([good("settings of llama_expert", "read"), broken("ports", REASON, REASON)]),
    "model list": Report(data=None, tables=(models_table(ROWS),)),
    "up": Report(data=None, tables=(urls(MACHINE),)),
}


def words(report: Report) -> set[str]:
    """What no table may leave out."""
    cells = [cell for table in report.tables for row in table.rows for cell in row]
    return {word for cell in cells for word in (cell if isinstance(cell, str) else cell.text).split()}


def printed(report: Report, folder: Path, columns: int | None) -> str:
    """What a terminal of `columns`, or a pipe, gets to see."""
    file = folder / "report.pickle"
    file.write_bytes(pickle.dumps(report))
    command = [sys.executable, "-c", SHOW, str(file)]
    variables = {**environment(), "TERM": "xterm"}
    variables.pop("COLUMNS", None)
    if columns is None:
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(command, env=variables, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:
        pass  # the terminal is gone when nobody holds it any more
    finally:
        os.close(ours)
    assert process.wait(60) == 0, shown.decode()
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize("shown", REPORTS)
def test_nothing_is_wider_than_the_terminal_and_nothing_is_left_out(
    shown: str, columns: int, tmp_path: Path
) -> None:
    report = REPORTS[shown]
    text = printed(report, tmp_path, columns)
    assert max(map(len, text.splitlines())) <= columns
    # A name that is longer than its column goes on in the next line.
    whole = re.sub(r"[\s│]", "", text)
    assert {word for word in words(report) if word not in whole} == set()


@pytest.mark.parametrize("shown", REPORTS)
def test_in_a_pipe_nothing_is_folded(shown: str, tmp_path: Path) -> None:
    report = REPORTS[shown]
    lines = printed(report, tmp_path, None).splitlines()
    for table in report.tables:
        for row in table.rows:
            cells = [cell if isinstance(cell, str) else cell.text for cell in row]
            assert any(all(cell in line for cell in cells) for line in lines), cells


def test_what_is_wrong_with_the_whole_stands_above_the_tables(tmp_path: Path) -> None:
    assert printed(REPORTS["status of a cluster"], tmp_path, 80).splitlines()[0] == "Consul is away"
