"""Upgrades of the scheduler itself, whole and broken off in the middle."""

import os
import signal
import subprocess

from tests.faults.campaign import Report, case, rounded
from tests.faults.processes import tasks
from tests.lab.cluster import Cluster
from tests.lab.engine import LabError, pause
from tests.lab.playbook_run import BIN, ROOT, ansible_environment

PLAYBOOK = "ansible/playbooks/upgrade.yaml"
NEXT_NOMAD = "1.11.3"


def versions(cluster: Cluster) -> dict[str, str]:
    """The version of Nomad that runs on each host."""
    nodes = cluster.site.nomad("/v1/nodes").json()
    return {node["Name"]: node["Version"] for node in nodes if node["Status"] == "ready"}


@case(owner="people: run it again", lost_at_most=0)
def interrupted_upgrade(cluster: Cluster, report: Report) -> None:
    """Broken off after the first server, it goes on where it was, and no task notices."""
    before = tasks(cluster)
    process = subprocess.Popen(
        [
            str(BIN / "ansible-playbook"),
            *cluster.lab.inventory_arguments,
            PLAYBOOK,
            *("-e", f"nomad_version={NEXT_NOMAD}"),
        ],
        cwd=ROOT,
        env=ansible_environment(cluster.lab.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        cluster.site.wait(lambda: NEXT_NOMAD in versions(cluster).values(), 600, "the first upgraded host")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    pause(2)
    mixed = versions(cluster)
    report.seen["when broken off"] = mixed
    report.expect(len(set(mixed.values())) == 2, "it was over before it could be broken off")
    extra = {"nomad_version": NEXT_NOMAD}
    report.healed_s = rounded(cluster.lab.ansible(PLAYBOOK, extra=extra).expect_success().seconds)
    now = versions(cluster)
    report.expect(set(now.values()) == {NEXT_NOMAD}, f"some hosts stayed behind: {now}")
    report.expect(tasks(cluster) == before, "a task was restarted")
    again = cluster.site.converge(extra=extra)
    if not again.succeeded or again.changes:
        raise LabError(f"the playbook had to change {again.changes} after the upgrade")
