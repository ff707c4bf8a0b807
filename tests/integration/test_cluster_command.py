"""`hearth` on a host of a cluster, with real agents of Consul and Nomad on this machine."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clusterkit.config.environment import environment
from clusterkit.testing import ScriptedAnswer, ScriptedLlm, scripted_llm
from tests.servers.agents import RunningAgent, announce, consul_agent, nomad_agent, run_job

SPEAK = "import sys, signal; print('line one', file=sys.stderr, flush=True); signal.pause()"


class Site:
    """A cluster of one host whose gateway follows a script."""

    def __init__(self, consul: RunningAgent, nomad: RunningAgent, gateway: ScriptedLlm, folder: Path) -> None:
        self.consul, self.nomad, self.gateway, self.folder = consul, nomad, gateway, folder
        self.key = folder / "client.key"
        self.key.write_text("the-key\n")
        self.env_file = folder / "hearth.env"
        told = {"CONSUL_URL": consul.url, "NOMAD_URL": nomad.url, "GATEWAY_KEY_FILE": str(self.key)}
        self.env_file.write_text("".join(f"HEARTH_{name}={value}\n" for name, value in told.items()))

    def hearth(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command as the wrapper on a host does."""
        return subprocess.run(
            [sys.executable, "-m", "hearth", *arguments],
            env={**environment(), "HEARTH_ENV_FILE": str(self.env_file), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        """What it prints with --json."""
        done = self.hearth(*arguments, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def serve(self, name: str, *tags: str, port: int, healthy: bool = True, said: str = "") -> None:
        """Register a service as Nomad would."""
        announce(self.consul, name, port, list(tags), healthy, said)


@pytest.fixture(scope="module")
def agents() -> Iterator[tuple[RunningAgent, RunningAgent]]:
    with consul_agent() as consul, nomad_agent() as nomad:
        run_job(nomad, "expert-main", SPEAK)
        yield consul, nomad


@pytest.fixture
def site(agents: tuple[RunningAgent, RunningAgent], tmp_path: Path) -> Iterator[Site]:
    with scripted_llm([ScriptedAnswer(text="It is 42.")]) as gateway:
        made = Site(*agents, gateway, tmp_path)
        made.serve("moe-gateway", port=gateway.port)
        made.serve("expert-main", "model=tiny", port=4000)
        yield made


def test_the_status_shows_hosts_services_and_jobs_of_the_cluster(site: Site) -> None:
    told = site.json("status")
    assert told["healthy"], told
    (host,) = told["hosts"]
    assert (host["name"], host["server"], host["nomad"], host["eligible"]) == ("here", True, "ready", True)
    services = {one["name"]: one for one in told["services"]}
    assert services["expert-main"]["host"] == "here"
    assert told["experts"]["expert-main"] == {"healthy": True, "model": "tiny", "detail": ""}
    assert [(job["name"], job["state"]) for job in told["jobs"]] == [("expert-main", "running")]
    shown = site.hearth("status")
    assert shown.returncode == 0
    for word in ("here", "moe-gateway", "expert-main", "tiny", "running", "accepted"):
        assert word in shown.stdout


def test_what_is_not_healthy_is_told_with_its_reason_and_status_1(site: Site) -> None:
    site.serve("expert-main", port=4000, healthy=False, said="no model fits")
    done = site.hearth("status")
    assert done.returncode == 1
    assert "no model fits" in done.stdout
    found = {one["part"]: one for one in site.json("doctor")}
    assert found["expert-main on here"]["verdict"] == "broken"
    assert found["expert-main on here"]["detail"] == "no model fits"
    assert found["an answer from hearth"]["verdict"] == "good"


def test_a_question_goes_to_the_gateway_with_the_operators_key(site: Site) -> None:
    done = site.hearth("ask", "what is 6 * 7")
    assert (done.returncode, done.stdout) == (0, "It is 42.\n"), done.stderr
    (asked,) = site.gateway.requests()
    assert asked["headers"]["authorization"] == "Bearer the-key"


def test_a_question_without_a_healthy_gateway_says_what_is_wrong_with_it(site: Site) -> None:
    site.serve("moe-gateway", port=site.gateway.port, healthy=False, said="no expert is ready")
    done = site.hearth("ask", "hi")
    assert done.returncode == 1
    assert "no moe-gateway is healthy: no expert is ready" in done.stderr


def test_a_key_that_may_not_be_read_is_said_and_what_to_do(site: Site) -> None:
    site.key.unlink()
    done = site.hearth("ask", "hi")
    assert done.returncode == 1
    assert "client.key cannot be read" in done.stderr
    assert {one["part"]: one["verdict"] for one in site.json("doctor")}["gateway key"] == "broken"


def test_what_a_job_wrote_is_shown(site: Site) -> None:
    assert "expert-main: line one" in site.hearth("logs", "expert-main").stdout
    assert "expert-main: line one" in site.hearth("logs").stdout
    unknown = site.hearth("logs", "nothing")
    assert unknown.returncode == 1
    assert "there is no job 'nothing' (known: expert-main)" in unknown.stderr


@pytest.mark.parametrize("command", [["up"], ["down"], ["model", "list"], ["model", "add", "x.gguf"]])
def test_commands_for_one_machine_say_what_does_the_same_here(site: Site, command: list[str]) -> None:
    done = site.hearth(*command)
    assert done.returncode == 1
    assert "this host belongs to a cluster" in done.stderr


def test_without_an_agent_on_this_host_the_exit_status_is_3(site: Site, tmp_path: Path) -> None:
    away = Site(site.consul, site.nomad, site.gateway, tmp_path)
    away.env_file.write_text("HEARTH_CONSUL_URL=http://127.0.0.1:9\nHEARTH_NOMAD_URL=http://127.0.0.1:9\n")
    done = away.hearth("status")
    assert done.returncode == 3
    assert "http://127.0.0.1:9/v1/agent/members" in done.stderr
    assert "systemctl status consul" in done.stderr


def test_without_nomad_what_consul_knows_is_still_told(site: Site) -> None:
    site.env_file.write_text(f"HEARTH_CONSUL_URL={site.consul.url}\nHEARTH_NOMAD_URL=http://127.0.0.1:9\n")
    done = site.hearth("status", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert "127.0.0.1:9" in told["problems"][0]
    assert {one["name"] for one in told["services"]} == {"moe-gateway", "expert-main"}
