"""Disks that are full: under Consul's data, under the logs, under the models."""

from tests.faults.campaign import Report, case, rounded
from tests.faults.processes import EXPERT_PROCESS, LEADER_WITHIN_S, another, tasks, wait_for_another
from tests.lab.cluster import Cluster
from tests.lab.engine import pause
from tests.lab.writer import Writer

#: Folders of every host of the campaign's lab that have a disk of their own, and its size in MB.
SMALL_DISKS = {"/var/lib/consul": 192, "/var/log/hearth": 256, "/var/lib/hearth/models": 256}
FULL_S = 30.0


@case(owner="people: free the disk", lost_at_most=0)
def consul_data_disk_full(cluster: Cluster, report: Report) -> None:
    """One server that cannot write costs the cluster nothing; with space again it is back by itself."""
    name = another(cluster, cluster.site.consul_leader())
    host, before = cluster.lab.host(name), tasks(cluster)
    with Writer(cluster.site, another(cluster, name)) as writer:
        host.fill_disk("/var/lib/consul")
        pause(FULL_S)
        report.seen["voters healthy while full"] = _healthy_servers(cluster)
        host.free_disk("/var/lib/consul")
    report.healed_s = rounded(
        cluster.site.wait(lambda: _healthy_servers(cluster) == len(cluster.lab.machines), 90, "all healthy")
    )
    report.expect(writer.gap <= LEADER_WITHIN_S, f"no write accepted for {writer.gap:.1f} s")
    report.expect(tasks(cluster) == before, "a task was restarted")


def _healthy_servers(cluster: Cluster) -> int:
    health = cluster.site.consul("/v1/operator/autopilot/health").json()
    return sum(server["Healthy"] for server in health["Servers"])


@case(owner="nobody: logs are not needed to serve", lost_at_most=0)
def log_disk_full(cluster: Cluster, report: Report) -> None:
    """Programs that cannot log go on serving."""
    before = tasks(cluster)
    for host in cluster.lab.machines.values():
        host.fill_disk("/var/log/hearth")
    pause(FULL_S / 2)
    answer = cluster.chat(cluster.gateways()[0], "main", "The capital of France is")
    for host in cluster.lab.machines.values():
        host.free_disk("/var/log/hearth")
    report.seen["answered while full"] = bool(answer.strip())
    report.expect(bool(answer.strip()), "no answer while the log disk was full")
    report.expect(tasks(cluster) == before, "a task was restarted")


@case(owner="nobody: models that are there go on serving", lost_at_most=0)
def model_disk_full(cluster: Cluster, report: Report) -> None:
    """An expert answers, and starts again, while no model can be stored."""
    [expert] = cluster.experts()
    host = cluster.lab.host(expert.node)
    host.fill_disk("/var/lib/hearth/models")
    try:
        [old, *_] = host.kill(EXPERT_PROCESS)
        again = wait_for_another(cluster, host, EXPERT_PROCESS, old, 40)
        answers = cluster.site.wait(cluster.answers, 120, "an answer of the expert that started anew")
        report.healed_s = rounded(again + answers)
    finally:
        host.free_disk("/var/lib/hearth/models")
