"""Hosts that fail, return, come and go; and what a stopped job needs."""

import pytest

from tests.lab.cluster import Cluster
from tests.lab.site import Instance
from tests.lab.timings import Timings

pytestmark = pytest.mark.timeout(3600)  # the first one may build Consul and Nomad

GOAL_ELSEWHERE_S = 30


def _apart(cluster: Cluster, host: str) -> list[Instance]:
    return [gateway for gateway in cluster.gateways() if gateway.node != host]


def test_a_host_without_power_is_replaced_and_returns(converged_lab: Cluster, timings: Timings) -> None:
    site = converged_lab.site
    before = site.settled()
    victim = converged_lab.lab.host(converged_lab.experts()[0].node)
    victim.power_off()
    elsewhere = site.wait(
        lambda: any(expert.node != victim.name for expert in converged_lab.experts()),
        120,
        "the expert on another host",
    )
    timings.note(f"host kill to serving elsewhere (goal {GOAL_ELSEWHERE_S} s)", elsewhere)
    # A gateway is not healthy while its registry has no leader, which the victim may have been.
    site.wait(lambda: bool(_apart(converged_lab, victim.name)), 60, "a gateway on another host")
    assert converged_lab.chat(
        _apart(converged_lab, victim.name)[0], "main", "The capital of France is"
    ).strip()
    moved = {expert["ID"] for expert in site.allocations(converged_lab.expert)}
    victim.boot()
    timings.note("host back to the steady state", site.wait_for_state(before, 180))
    assert {expert["ID"] for expert in site.allocations(converged_lab.expert)} == moved, "it serves on"


def test_heal_starts_what_is_dead_and_touches_nothing_else(converged_lab: Cluster, timings: Timings) -> None:
    site = converged_lab.site
    before = site.settled()
    untouched = {a["ID"] for a in site.allocations(converged_lab.expert)}
    site.nomad(f"/v1/job/{converged_lab.agent}", method="DELETE").json()
    site.wait(lambda: not site.passing(converged_lab.agent), 60, "the stopped agent gone")
    timings.note_run("heal", converged_lab.lab.ansible("heal_cluster.yaml").expect_success())
    assert site.passing(converged_lab.agent)
    assert {a["ID"] for a in site.allocations(converged_lab.expert)} == untouched
    assert site.state().running == before.running
    assert converged_lab.lab.ansible("heal_cluster.yaml").expect_success().changes == []


def test_a_host_is_added_and_removed_without_touching_the_others(
    converged_lab: Cluster, timings: Timings
) -> None:
    site, lab = converged_lab.site, converged_lab.lab
    before, processes = site.settled(), site.processes()
    added = lab.add_host("workers")
    joined = lab.ansible("ansible/playbooks/add_host.yaml", extra={"host": added.name}).expect_success()
    timings.note_run("one host added", joined)
    assert {host for host, _ in joined.changes} - {"localhost"} == {added.name}
    assert site.nodes()[added.name] == "ready eligible"
    assert site.members()[added.name] == "alive"
    assert converged_lab.hearth(added.name, "status")["hosts"]
    assert {name: known for name, known in site.processes().items() if name != added.name} == processes

    left = lab.ansible("ansible/playbooks/remove_host.yaml", extra={"host": added.name}).expect_success()
    timings.note_run("one host removed", left)
    lab.forget_host(added.name)
    site.wait_for_state(before, 60)
    assert site.converge().expect_success().changes == []
