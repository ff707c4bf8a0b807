"""The core of the cluster on real hosts: it forms, stays as it is, answers, and keeps its secrets."""

from pathlib import Path

import psutil
import pytest

from tests.lab.cluster import Cluster
from tests.lab.timings import Timings

pytestmark = pytest.mark.timeout(3600)  # the first one may build Consul and Nomad


@pytest.mark.req("PRV-01", "PRV-36", "GTW-14")
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
    before = converged_lab.site.settled(), converged_lab.site.processes()
    again = converged_lab.site.converge().expect_success()
    timings.note_run("second run", again)
    assert again.changes == []
    assert (converged_lab.site.state(), converged_lab.site.processes()) == before
    timings.note("second run, share of the first", again.seconds / converged_lab.first_run.seconds)


def test_a_second_clone_without_the_secrets_changes_nothing(converged_lab: Cluster, tmp_path: Path) -> None:
    before = converged_lab.site.settled(), converged_lab.site.processes()
    elsewhere = tmp_path / "controller"
    refused = converged_lab.lab.ansible("playbook.yaml", extra={"controller_dir": str(elsewhere)})
    assert not refused.succeeded
    assert refused.changes == []
    assert "belongs to a cluster already" in refused.output
    assert not elsewhere.exists()
    assert (converged_lab.site.state(), converged_lab.site.processes()) == before


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


@pytest.mark.req("DOC-02")
def test_the_end_to_end_playbook_hears_from_the_agents_tool_how_things_are(converged_lab: Cluster) -> None:
    run = converged_lab.lab.ansible("e2e-tests.yaml").expect_success()
    assert run.changes == []
    wrong = converged_lab.lab.ansible("e2e-tests.yaml", extra={"llama_api_service_name": "expert-nowhere"})
    assert not wrong.succeeded
    assert "The agent said:" in wrong.output


@pytest.mark.req("PRV-29")
def test_another_expert_is_deployed_by_its_name_and_answers(converged_lab: Cluster) -> None:
    site, name = converged_lab.site, "summarization"
    service = f"{site.variables['__expert_service_prefix']}{name}"
    try:
        extra = {"expert": name}
        converged_lab.lab.ansible("ansible/playbooks/deploy_expert.yaml", extra=extra).expect_success()
        assert converged_lab.hearth("n1", "status")["experts"][service]["healthy"]
        assert converged_lab.chat(converged_lab.gateways()[0], name, "In one word: what is snow?").strip()
    finally:
        site.nomad(f"/v1/job/{service}?purge=true", method="DELETE")
    site.wait(lambda: not site.passing(service), 60, "the expert gone again")


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
