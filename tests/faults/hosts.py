"""Hosts that vanish, return, lose their majority, their data or their addresses."""

from tests.faults.campaign import Report, case, rounded
from tests.faults.processes import another
from tests.lab.cluster import Cluster
from tests.lab.engine import pause
from tests.lab.host import Host

ELSEWHERE_WITHIN_S = 30.0


@case(owner="nomad", playbook=True)
def host_vanishes_and_returns(cluster: Cluster, report: Report) -> None:
    """What it served is served elsewhere within 30 seconds; when it is back there is one of each."""
    _vanishes_and_returns(cluster, report, cluster.lab.host(cluster.experts()[0].node))


@case(owner="raft and nomad", playbook=True)
def leading_host_vanishes_and_returns(cluster: Cluster, report: Report) -> None:
    """No later when it also led Consul and Nomad, so that who misses it must be found first."""
    victim = cluster.lab.host(cluster.experts()[0].node)
    cluster.site.lead_from(victim.name)
    _vanishes_and_returns(cluster, report, victim)


def _vanishes_and_returns(cluster: Cluster, report: Report, victim: Host) -> None:
    side = another(cluster, victim.name)
    victim.power_off()
    report.detected_s = rounded(
        cluster.site.wait(lambda: cluster.site.members(side).get(victim.name) != "alive", 40, "it missed")
    )
    elsewhere = cluster.site.wait(
        lambda: any(expert.node != victim.name for expert in cluster.experts()), 90, "served elsewhere"
    )
    report.healed_s = rounded(report.detected_s + elsewhere)
    victim.boot()
    report.expect(report.healed_s <= ELSEWHERE_WITHIN_S, f"served elsewhere after {report.healed_s} s")


@case(owner="nobody but people; then raft")
def two_of_three_servers_lost(cluster: Cluster, report: Report) -> None:
    """Without a majority nothing is decided, and nothing is stopped either; with it all is as before."""
    gateway = cluster.gateways()[0]
    survivor = cluster.lab.host(gateway.node)
    others = [host for host in cluster.lab.machines.values() if host.name != survivor.name]
    kept = survivor.started("python -m moe_gateway")
    for host in others:
        host.power_off()
    report.detected_s = rounded(
        cluster.site.wait(
            lambda: (
                cluster.site.consul("/v1/kv/hearth/x", host=survivor.name, method="PUT", body="x").status
                != 200
            ),
            40,
            "writes refused",
        )
    )
    pause(20)
    report.expect(survivor.started("python -m moe_gateway") == kept, "the survivor's gateway was touched")
    key = {"Authorization": f"Bearer {cluster.site.client_key}"}
    answer = cluster.site.ask(survivor, f"{gateway.url}/v1/models", headers=key)
    report.expect(answer.status == 200, "the survivor's gateway does not answer")
    for host in others:
        host.boot(wait=False)
    for host in others:
        host.wait_until_booted()
    report.healed_s = rounded(
        cluster.site.wait(
            lambda: bool(cluster.site.consul_leader() and cluster.site.nomad_leader()), 60, "leaders"
        )
    )


@case(owner="nomad and the playbook", playbook=True)
def nomad_data_wiped(cluster: Cluster, report: Report) -> None:
    """A host that forgot everything joins as a new node; the old one leaves no stale entries."""
    name = another(cluster, cluster.site.nomad_leader())
    host = cluster.lab.host(name)
    host.shell("systemctl disable nomad")
    host.power_off()
    host.boot()
    host.shell("find /var/lib/nomad -mindepth 1 -delete; systemctl enable --now nomad", timeout=90)
    report.healed_s = rounded(
        cluster.site.wait(lambda: cluster.site.nodes().get(name) == "ready eligible", 90, f"{name} ready")
    )


@case(owner="people: recover_quorum.yaml", playbook=True)
def all_addresses_changed(cluster: Cluster, report: Report) -> None:
    """The home got another router: every address is new."""
    for host in cluster.lab.machines.values():
        host.power_off()
    for name in cluster.lab.machines:
        cluster.lab.readdress(name)
    for host in cluster.lab.machines.values():
        host.boot(wait=False)
    for host in cluster.lab.machines.values():
        host.wait_until_booted()
    run = cluster.lab.ansible("ansible/playbooks/recover_quorum.yaml").expect_success()
    again = cluster.site.converge().expect_success()
    report.healed_s = rounded(run.seconds + again.seconds)
