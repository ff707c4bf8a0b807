"""Prometheus watches what Consul knows; it accepts its configuration, and each alert fires when it should."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ansible_render import ROOT, THREE_HOSTS, render
from tests.unit.ansible_roles.jobs import job, task

ALERT_TESTS = ROOT / "ansible/roles/monitoring/molecule/default/alert_tests.yaml"
FOUND_IN_CONSUL = re.compile(r"\[\[.*?\]\]", re.DOTALL)


def rendered(template: str) -> str:
    return render("monitoring", template, THREE_HOSTS, "n1")


def configuration() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FOUND_IN_CONSUL.sub("x", rendered("prometheus.yml.j2")))
    return found


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(rendered("hearth.rules.yaml.j2"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def promtool(*arguments: str, folder: Path) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip(
            "promtool (Debian: prometheus) is not installed here; the role's Molecule scenario runs this too"
        )
    done = subprocess.run(
        [program, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_services_hosts_and_both_agents_are_watched() -> None:
    jobs = {job["job_name"]: job for job in configuration()["scrape_configs"]}
    assert sorted(jobs) == ["consul", "gateway", "hearth", "node", "nomad"]
    ports = {name: jobs[name]["relabel_configs"][0]["replacement"] for name in ("consul", "nomad", "node")}
    assert ports == {"consul": "$1:8501", "nomad": "$1:4646", "node": "$1:9100"}
    for name in ("consul", "nomad"):
        assert (jobs[name]["scheme"], jobs[name]["tls_config"]) == (
            "https",
            {"ca_file": "/etc/hearth/tls/ca.pem"},
        )


def test_nomad_hands_the_configuration_on_as_it_was_written() -> None:
    written = {
        one["DestPath"].rpartition("/")[2]: one["EmbeddedTmpl"]
        for one in task(job("prometheus"))["Templates"]
    }
    for port in ("8501", "4646", "9100"):
        assert f'replacement: "$1:{port}"' in written["prometheus.yml"]
    assert "{{ $labels.host }}" in written["hearth.rules.yaml"]


def test_only_the_gateway_is_shown_the_key_of_a_client() -> None:
    shown = [job["job_name"] for job in configuration()["scrape_configs"] if "client.key" in json.dumps(job)]
    assert shown == ["gateway"]


def test_what_has_no_metrics_is_not_asked_for_them() -> None:
    services = rendered("services.yaml.j2")
    assert 'contains "hearth"' in services
    assert '(ne .Name "mqtt")' in services


def test_every_alert_says_who_mends_it_and_what_is_wrong() -> None:
    playbooks = {path.name for path in [*ROOT.glob("*.yaml"), *ROOT.glob("ansible/playbooks/*.yaml")]}
    assert alerts()
    for alert in alerts():
        assert alert["labels"]["mended_by"] in {*playbooks, "person"}, alert["alert"]
        assert alert["annotations"]["summary"], alert["alert"]


def test_every_alert_is_tested() -> None:
    tested = {
        case["alertname"]
        for test in yaml.safe_load(ALERT_TESTS.read_text())["tests"]
        for case in test["alert_rule_test"]
    }
    assert tested == {alert["alert"] for alert in alerts()}


def test_each_alert_fires_when_it_should(tmp_path: Path) -> None:
    (tmp_path / "hearth.rules.yaml").write_text(rendered("hearth.rules.yaml.j2"))
    shutil.copy(ALERT_TESTS, tmp_path)
    assert "SUCCESS" in promtool("test", "rules", ALERT_TESTS.name, folder=tmp_path)


def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "hearth.rules.yaml").write_text(rendered("hearth.rules.yaml.j2"))
    named = re.sub(r'\[\[ env "\w+" \]\]', str(tmp_path), rendered("prometheus.yml.j2"))
    (tmp_path / "prometheus.yml").write_text(
        named.replace("/etc/hearth/tls/ca.pem", str(tmp_path / "ca.pem"))
    )
    for name in ("consul.token", "client.key", "ca.pem"):
        (tmp_path / name).write_text("x")
    assert "SUCCESS" in promtool("check", "config", "--syntax-only", "prometheus.yml", folder=tmp_path)
