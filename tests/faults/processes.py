"""Processes that die or stop: agents, leaders, tasks."""

from tests.faults.campaign import Report, case, rounded
from tests.lab.cluster import Cluster
from tests.lab.engine import pause
from tests.lab.host import Host
from tests.lab.writer import Writer

CONSUL = "consul[^ ]* agent"
NOMAD = "nomad[^ ]* agent"
EXPERT_PROCESS = "python -m llama_expert"
FREEZE_S = 30.0
LEADER_GOAL_S = 3.0  #: on a machine that has nothing else to do; the campaign's hosts share two cores
LEADER_WITHIN_S = 2 * LEADER_GOAL_S


def another(cluster: Cluster, *names: str) -> str:
    """A host that is none of these."""
    return next(name for name in cluster.lab.machines if name not in names)


def tasks(cluster: Cluster) -> dict[str, dict[int, int]]:
    """When each task of ours began, per host."""
    return {name: host.started("/opt/hearth/releases/") for name, host in cluster.lab.machines.items()}


def wait_for_another(cluster: Cluster, host: Host, pattern: str, old: int, within: float) -> float:
    """Seconds until something else than process `old` runs."""
    return cluster.site.wait(
        lambda: bool(set(host.pids(pattern)) - {old}), within, f"{pattern} again on {host.name}"
    )


@case(owner="systemd", lost_at_most=0)
def consul_follower_killed(cluster: Cluster, report: Report) -> None:
    """systemd starts it again; no task notices."""
    name = another(cluster, cluster.site.consul_leader())
    host, before = cluster.lab.host(name), tasks(cluster)
    [old] = host.kill(CONSUL)
    report.detected_s = rounded(wait_for_another(cluster, host, CONSUL, old, 20))
    report.healed_s = rounded(
        cluster.site.wait(lambda: cluster.site.consul("/v1/status/leader", host=name).status == 200, 30, name)
    )
    report.expect(tasks(cluster) == before, "a task was restarted")


@case(owner="raft")
def consul_leader_killed(cluster: Cluster, report: Report) -> None:
    """Another server leads and writes are accepted again within a few seconds."""
    old = cluster.site.consul_leader()
    before = tasks(cluster)
    with Writer(cluster.site, another(cluster, old)) as writer:
        pause(1)
        cluster.lab.host(old).kill(CONSUL)
        report.detected_s = rounded(
            cluster.site.wait(lambda: cluster.site.consul_leader() not in ("", old), 20, "a new leader")
        )
        pause(3)
    report.healed_s = rounded(writer.gap)
    report.seen = {"writes_accepted": writer.accepted, "writes_refused": writer.refused}
    report.expect(tasks(cluster) == before, "a task was restarted")
    report.expect(writer.gap <= LEADER_WITHIN_S, f"no write accepted for {writer.gap:.1f} s")


@case(owner="systemd", lost_at_most=0)
def nomad_client_killed(cluster: Cluster, report: Report) -> None:
    """Its tasks go on running and are taken over again by the new process."""
    name = another(cluster, cluster.site.nomad_leader())
    host, before = cluster.lab.host(name), tasks(cluster)
    [old] = host.kill(NOMAD)
    report.detected_s = rounded(wait_for_another(cluster, host, NOMAD, old, 20))
    report.healed_s = rounded(
        cluster.site.wait(lambda: cluster.site.nodes().get(name) == "ready eligible", 60, f"{name} ready")
    )
    report.expect(tasks(cluster) == before, "a task was restarted")


@case(owner="raft", lost_at_most=0)
def nomad_leader_killed(cluster: Cluster, report: Report) -> None:
    """Another server leads; no task notices."""
    old, before = cluster.site.nomad_leader(), tasks(cluster)
    cluster.lab.host(old).kill(NOMAD)
    report.detected_s = report.healed_s = rounded(
        cluster.site.wait(lambda: cluster.site.nomad_leader() not in ("", old), 30, "a new leader")
    )
    report.expect(tasks(cluster) == before, "a task was restarted")


@case(owner="nomad", lost_at_most=0)
def expert_killed(cluster: Cluster, report: Report) -> None:
    """Nomad starts it again on the same host."""
    [expert] = cluster.experts()
    allocation = cluster.site.allocations(cluster.expert)[0]["ID"]
    host = cluster.lab.host(expert.node)
    [old, *_] = host.kill(EXPERT_PROCESS)
    report.detected_s = rounded(wait_for_another(cluster, host, EXPERT_PROCESS, old, 60))
    report.healed_s = rounded(cluster.site.wait(lambda: bool(cluster.experts()), 120, "a healthy expert"))
    report.expect(
        cluster.site.allocations(cluster.expert)[0]["ID"] == allocation, "it was moved, not restarted"
    )


@case(owner="nomad", lost_at_most=120)
def gateway_killed(cluster: Cluster, report: Report) -> None:
    """One of two dies: half of the requests, until Consul or Nomad notices."""
    gateway = cluster.gateways()[0]
    host = cluster.lab.host(gateway.node)
    [old, *_] = host.kill("python -m moe_gateway")
    report.detected_s = rounded(wait_for_another(cluster, host, "python -m moe_gateway", old, 60))
    report.healed_s = rounded(cluster.site.wait(lambda: len(cluster.gateways()) == 2, 60, "two gateways"))


@case(owner="raft")
def consul_leader_frozen(cluster: Cluster, report: Report) -> None:
    """The others go on without it; when it thaws, it follows."""
    old = cluster.site.consul_leader()
    host = cluster.lab.host(old)
    with Writer(cluster.site, another(cluster, old)) as writer:
        pause(1)
        host.freeze(CONSUL)
        pause(FREEZE_S)
        host.thaw(CONSUL)
        pause(2)
    report.detected_s = report.healed_s = rounded(writer.gap)
    report.expect(writer.gap <= LEADER_WITHIN_S, f"no write accepted for {writer.gap:.1f} s")


@case(owner="nobody: 30 s are no reason to act", lost_at_most=0)
def nomad_agent_frozen(cluster: Cluster, report: Report) -> None:
    """The tasks of a silent agent stay where they are, or come back to one of each."""
    name = another(cluster, cluster.site.nomad_leader())
    host, before = cluster.lab.host(name), tasks(cluster)[name]
    host.freeze(NOMAD)
    pause(FREEZE_S)
    report.seen["node while frozen"] = cluster.site.nodes().get(name)
    host.thaw(NOMAD)
    report.healed_s = rounded(
        cluster.site.wait(lambda: cluster.site.nodes().get(name) == "ready eligible", 60, f"{name} ready")
    )
    after = tasks(cluster)[name]
    report.seen["tasks kept"] = len(before.items() & after.items())


@case(owner="nomad")
def gateway_frozen(cluster: Cluster, report: Report) -> None:
    """A program that hangs is found by its check, and requests go to the other one."""
    gateway = cluster.gateways()[0]
    host = cluster.lab.host(gateway.node)
    [pid, *_] = host.pids("python -m moe_gateway")
    host.kill(pid, "STOP")
    report.detected_s = rounded(
        cluster.site.wait(
            lambda: gateway.node not in {g.node for g in cluster.gateways()}, 40, "the check to fail"
        )
    )
    pause(max(0.0, FREEZE_S - report.detected_s))
    if pid in host.pids("python -m moe_gateway"):
        host.kill(pid, "CONT")
    report.healed_s = rounded(cluster.site.wait(lambda: len(cluster.gateways()) == 2, 90, "two gateways"))
