"""Networks that part and lose."""

from tests.faults.campaign import Report, case, rounded
from tests.faults.processes import LEADER_WITHIN_S, another, tasks
from tests.lab.cluster import Cluster
from tests.lab.engine import pause
from tests.lab.writer import Writer

PARTED_S = 30.0
LOSSY_S = 40.0


@case(owner="nomad")
def one_host_cut_off(cluster: Cluster, report: Report) -> None:
    """A host that no other reaches: its work is done elsewhere, once; afterwards there is one of each."""
    name = another(cluster, cluster.site.consul_leader(), cluster.site.nomad_leader())
    side = another(cluster, name)
    cluster.lab.isolate(name)
    report.detected_s = rounded(
        cluster.site.wait(lambda: cluster.site.members(side).get(name) != "alive", 40, f"{name} failed")
    )
    pause(PARTED_S)
    cluster.lab.heal_network()
    report.healed_s = rounded(
        cluster.site.wait(lambda: cluster.site.members(side).get(name) == "alive", 60, f"{name} alive")
    )


@case(owner="raft")
def leader_cut_off(cluster: Cluster, report: Report) -> None:
    """The minority must not write; the majority must."""
    old = cluster.site.consul_leader()
    with Writer(cluster.site, another(cluster, old)) as majority:
        pause(1)
        cluster.lab.isolate(old)
        pause(PARTED_S)
        refused = cluster.site.consul("/v1/kv/hearth/minority", host=old, method="PUT", body="x", timeout=5)
        cluster.lab.heal_network()
        pause(3)
    report.detected_s = report.healed_s = rounded(majority.gap)
    report.seen["the minority answered"] = refused.status
    report.expect(refused.status != 200, "the cut-off leader accepted a write")
    report.expect(majority.gap <= LEADER_WITHIN_S, f"the majority accepted no write for {majority.gap:.1f} s")


@case(owner="raft or nobody: a link that is half open")
def one_way_cut(cluster: Cluster, report: Report) -> None:
    """The leader hears one follower that does not hear it: at most one short election."""
    old = cluster.site.consul_leader()
    deaf = another(cluster, old)
    third = another(cluster, old, deaf)
    with Writer(cluster.site, third) as writer:
        pause(1)
        cluster.lab.cut_one_way(old, deaf)
        pause(PARTED_S)
        cluster.lab.heal_network()
        pause(2)
    report.healed_s = rounded(writer.gap)
    report.seen = {"leader_before": old, "leader_after": cluster.site.consul_leader()}
    report.expect(writer.gap <= LEADER_WITHIN_S, f"no write accepted for {writer.gap:.1f} s")


@case(owner="nobody: 5 % are no reason to act", lost_at_most=0)
def five_percent_lost(cluster: Cluster, report: Report) -> None:
    """Nothing is moved, restarted or called failed."""
    _lossy(cluster, report, 5)
    report.expect(report.seen["tasks untouched"] is True, "a task was restarted or moved")


@case(owner="nobody")
def thirty_percent_lost(cluster: Cluster, report: Report) -> None:
    """Slow, but the majority goes on and everything is as it was in the end."""
    _lossy(cluster, report, 30)


def _lossy(cluster: Cluster, report: Report, percent: float) -> None:
    before = tasks(cluster)
    name = another(cluster, cluster.site.consul_leader())
    side = another(cluster, name)
    cluster.lab.loss(name, percent)
    worst = "alive"
    for _ in range(int(LOSSY_S / 5)):
        pause(5)
        status = cluster.site.members(side).get(name, "left")
        worst = status if status != "alive" else worst
    cluster.lab.heal_network()
    report.seen = {"worst word of gossip": worst, "tasks untouched": tasks(cluster) == before}
