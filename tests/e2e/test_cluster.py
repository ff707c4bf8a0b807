"""The core of the cluster on real hosts: it forms, stays, answers, survives, heals, grows and shrinks."""

import psutil
import pytest

from tests.lab.cluster import Cluster
from tests.lab.timings import Timings

pytestmark = pytest.mark.timeout(3600)  # the first one may build Consul and Nomad

GOAL_FORMED_S = 360
GOAL_SECOND_RUN = 0.35
GOAL_ELSEWHERE_S = 30


@pytest.mark.req("PRV-01", "PRV-02", "PRV-36", "GTW-14")
def test_three_blank_hosts_become_hearth(converged_lab: Cluster) -> None:
    site = converged_lab.site
    names = set(converged_lab.lab.machines)
    assert site.members() == dict.fromkeys(names, "alive")
    assert site.peers() == names
    assert site.nodes() == dict.fromkeys(names, "ready eligible")
    assert site.consul("/v1/operator/autopilot/health").json()["Healthy"] is True
    for service in (converged_lab.gateway, converged_lab.agent, converged_lab.expert):
        assert site.passing(service), service


@pytest.mark.req("PRV-12", "GTW-14")
def test_a_second_run_changes_nothing_and_restarts_nothing(converged_lab: Cluster, timings: Timings) -> None:
    before = converged_lab.site.processes(), converged_lab.site.state()
    again = converged_lab.site.converge().expect_success()
    timings.note_run("second run", again)
    assert again.changes == []
    assert (converged_lab.site.processes(), converged_lab.site.state()) == before
    timings.note("second run, share of the first", again.seconds / converged_lab.first_run.seconds)


def test_hearth_status_on_every_host_shows_the_whole(converged_lab: Cluster) -> None:
    for name in converged_lab.lab.machines:
        status = converged_lab.hearth(name, "status")
        assert {host["name"] for host in status["hosts"]} == set(converged_lab.lab.machines)
        shown = {service["name"] for service in status["services"]}
        assert {converged_lab.gateway, converged_lab.agent, converged_lab.expert} <= shown


def test_a_gateway_answers_from_an_expert_on_another_host(converged_lab: Cluster) -> None:
    gateway, expert = converged_lab.gateway_apart_from_expert()
    assert gateway.node != expert.node
    assert converged_lab.chat(gateway, "main", "The capital of France is", 24).strip()


def test_the_gateway_refuses_who_has_no_key(converged_lab: Cluster) -> None:
    gateway = converged_lab.gateways()[0]
    url = f"{gateway.url}/v1/models"
    host = converged_lab.lab.host("n1")
    assert converged_lab.site.ask(host, url).status == 401
    assert converged_lab.site.ask(host, url, headers={"Authorization": "Bearer wrong"}).status == 401
    key = {"Authorization": f"Bearer {converged_lab.site.client_key}"}
    assert converged_lab.site.ask(host, url, headers=key).status == 200


@pytest.mark.req("PRV-33")
def test_no_task_runs_as_root(converged_lab: Cluster) -> None:
    found = 0
    for host in converged_lab.lab.machines.values():
        for pid in host.pids("/opt/hearth/releases/"):
            owner = host.shell(f"stat -c %U /proc/{pid}", check=False)
            if owner:
                assert owner.startswith("hearth-"), host.shell(f"tr '\\0' ' ' </proc/{pid}/cmdline")
                found += 1
    assert found >= 3


@pytest.mark.req("PRV-37")
def test_no_secret_stands_in_a_command_line_or_an_environment(converged_lab: Cluster) -> None:
    secrets = [text for text in _leaves(converged_lab.site.secrets()) if len(text) >= 20]
    assert secrets
    for process in psutil.process_iter():
        try:
            shown = [*process.cmdline(), *process.environ().values()]
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        for secret in secrets:
            assert not any(secret in text for text in shown), process.name()


def _leaves(value: object) -> list[str]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    return [value] if isinstance(value, str) else []


def test_a_host_without_power_is_replaced_and_returns(converged_lab: Cluster, timings: Timings) -> None:
    site = converged_lab.site
    before = site.state()
    victim = converged_lab.lab.host(converged_lab.experts()[0].node)
    victim.power_off()
    elsewhere = site.wait(
        lambda: any(expert.node != victim.name for expert in converged_lab.experts()),
        120,
        "the expert on another host",
    )
    timings.note(f"host kill to serving elsewhere (goal {GOAL_ELSEWHERE_S} s)", elsewhere)
    gateway = next(gateway for gateway in converged_lab.gateways() if gateway.node != victim.name)
    assert converged_lab.chat(gateway, "main", "The capital of France is").strip()
    victim.boot()
    timings.note("host back to the steady state", site.wait_for_state(before, 180))


@pytest.mark.req("PRV-03", "PRV-04")
def test_heal_starts_what_is_dead_and_touches_nothing_else(converged_lab: Cluster, timings: Timings) -> None:
    site = converged_lab.site
    before = site.state()
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
    before, processes = site.state(), site.processes()
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
