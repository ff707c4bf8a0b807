"""Changes of the cluster itself that are broken off in the middle."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping

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


def log_levels(cluster: Cluster) -> dict[str, str]:
    """What Nomad logs on each host, as it says itself."""
    names = cluster.lab.machines
    agents = {name: cluster.site.nomad("/v1/agent/self", host=name).json() for name in names}
    return {name: agent["config"]["LogLevel"].lower() for name, agent in agents.items()}


def break_off(
    cluster: Cluster, playbook: str, extra: Mapping[str, str], when: Callable[[], bool], what: str
) -> None:
    """Run a playbook, and kill it as soon as the condition holds."""
    process = subprocess.Popen(
        [
            str(BIN / "ansible-playbook"),
            *cluster.lab.inventory_arguments,
            playbook,
            *(argument for name, value in extra.items() for argument in ("-e", f"{name}={value}")),
        ],
        cwd=ROOT,
        env=ansible_environment(cluster.lab.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        cluster.site.wait(when, 600, what)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@case(owner="people: run it again", lost_at_most=0, playbook=True)
def interrupted_configuration(cluster: Cluster, report: Report) -> None:
    """Broken off between files and the restarts they ask for; the next run restarts, and no task notices."""
    before = tasks(cluster)
    hosts = cluster.lab.machines.values()
    extra = {"nomad_log_level": "debug"}

    def written() -> bool:
        looks = [host.exec(["grep", "-qi", "debug", "/etc/nomad.d/nomad.hcl"], check=False) for host in hosts]
        return all(look.returncode == 0 for look in looks)

    break_off(cluster, "playbook.yaml", extra, written, "the new configuration on all hosts")
    stale = log_levels(cluster)
    report.seen["when broken off"] = stale
    report.expect("info" in stale.values(), "it was over before it could be broken off")
    report.healed_s = rounded(cluster.site.converge(extra=extra).expect_success().seconds)
    now = log_levels(cluster)
    report.expect(set(now.values()) == {"debug"}, f"some agents were not restarted: {now}")
    report.expect(tasks(cluster) == before, "a task was restarted")
    cluster.site.converge().expect_success()


@case(owner="people: run it again", lost_at_most=0)
def interrupted_upgrade(cluster: Cluster, report: Report) -> None:
    """Broken off after the first server, it goes on where it was, and no task notices."""
    before = tasks(cluster)
    extra = {"nomad_version": NEXT_NOMAD}
    break_off(
        cluster, PLAYBOOK, extra, lambda: NEXT_NOMAD in versions(cluster).values(), "the first upgraded host"
    )
    pause(2)
    mixed = versions(cluster)
    report.seen["when broken off"] = mixed
    report.expect(len(set(mixed.values())) == 2, "it was over before it could be broken off")
    report.healed_s = rounded(cluster.lab.ansible(PLAYBOOK, extra=extra).expect_success().seconds)
    now = versions(cluster)
    report.expect(set(now.values()) == {NEXT_NOMAD}, f"some hosts stayed behind: {now}")
    report.expect(tasks(cluster) == before, "a task was restarted")
    again = cluster.site.converge(extra=extra)
    if not again.succeeded or again.changes:
        raise LabError(f"the playbook had to change {again.changes} after the upgrade")
