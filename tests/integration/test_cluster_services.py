"""An expert under Nomad, found through Consul by a gateway, asked by `hearth`: all of them real."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clusterkit.config.environment import environment
from clusterkit.http.tokens import ensure_token
from moe_gateway.keys import hash_key
from tests.catalogues import built_in_model, catalogue_of
from tests.integration.waiting import eventually
from tests.servers.agents import RunningAgent, consul_agent, nomad_agent
from tests.unit.ansible_roles.jobs import job

ROOT = Path(__file__).parents[2]
FALLBACK: Mapping[str, Any] = built_in_model()
PATIENCE = 100.0  #: seconds for a model to load on a busy machine


@dataclass
class Site:
    """The parts of the cluster."""

    consul: RunningAgent
    nomad: RunningAgent
    folder: Path

    def run_expert(self, models: Sequence[Mapping[str, Any]]) -> None:
        """Submit the job that the role renders, for an expert `main` with that list of models."""
        rendered = job(
            "expert-main",
            cluster_datacenter="dc1",
            **catalogue_of({"main": models}),
            hearth_state_dir=str(self.folder),
            hearth_models_dir=str(self.folder / "models"),
            consul_addr=self.consul.url,
        )
        token = ensure_token(self.folder / "secrets", "llama_expert")
        self.nomad.put("/v1/var/nomad/jobs/expert-main", {"Items": {"llama_expert_token": token}})
        self.nomad.post("/v1/jobs", {"Job": on_this_machine(rendered)})

    def tags(self) -> list[str]:
        """The tags of the expert's healthy instance."""
        found = self.consul.get("/v1/health/service/expert-main?passing")
        return list(found[0]["Service"]["Tags"]) if found else []

    def allocation(self) -> Mapping[str, Any]:
        """The expert's newest allocation."""
        found: list[Mapping[str, Any]] = self.nomad.get("/v1/job/expert-main/allocations")
        return max(found, key=lambda one: one["CreateIndex"])

    def hearth(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command as on a host of the cluster."""
        told = {
            "HEARTH_CONSUL_URL": self.consul.url,
            "HEARTH_NOMAD_URL": self.nomad.url,
            "HEARTH_GATEWAY_KEY_FILE": str(self.folder / "client.key"),
            "COLUMNS": "200",
        }
        return subprocess.run(
            [sys.executable, "-m", "hearth", *arguments],
            env={**environment(), **told},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def on_this_machine(rendered: Mapping[str, Any]) -> dict[str, Any]:
    """The job without what a host of the cluster has: its users, the installed wheel, its certificates."""
    adapted = copy.deepcopy(dict(rendered))
    (program,) = adapted["TaskGroups"][0]["Tasks"]
    program["User"] = ""
    arguments = program["Config"]["args"]
    program["Config"]["args"] = [sys.executable if one.endswith("/bin/python") else one for one in arguments]
    for only_there in ("LLAMA_EXPERT_CONSUL_CA_FILE", "LLAMA_EXPERT_CONSUL_TOKEN_FILE"):
        del program["Env"][only_there]
    program["Env"]["PYTHONPATH"] = str(ROOT)
    for template in program["Templates"]:
        template["Uid"], template["Gid"] = os.getuid(), os.getgid()
    return adapted


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "models").mkdir()
    broken = {
        **FALLBACK,
        "name": "broken",
        "filename": "broken.gguf",
        "sources": [{"url": "https://models.example/broken.gguf"}],
    }
    (folder / "models/broken.gguf").write_bytes(b"GGUF, so it says")
    for service in ("llama_expert", "moe_gateway", "pipecatapp"):
        ensure_token(folder / "secrets", service)
    (folder / "client.key").write_text("a-persons-key")
    (folder / "keys").write_text(hash_key("a-persons-key") + "\n")
    with consul_agent() as consul:
        address = consul.url.removeprefix("http://")
        with nomad_agent(settings={"consul": {"address": address}}) as nomad:
            made = Site(consul, nomad, folder)
            made.run_expert([broken, FALLBACK])
            eventually(lambda: any(tag.startswith("model=") for tag in made.tags()), within=PATIENCE)
            yield made


@pytest.fixture(scope="module")
def gateway(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    told = {
        "HOME": str(site.folder / "gateway"),
        "SECRETS_DIR": str(site.folder / "secrets"),
        "KEYS_FILE": str(site.folder / "keys"),
        "PORT": "0",
        "CONSUL_URL": site.consul.url,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "moe_gateway"],
        env={**environment(), **{f"MOE_GATEWAY_{name}": value for name, value in told.items()}},
        stderr=subprocess.DEVNULL,
    )
    eventually(lambda: bool(site.consul.get("/v1/health/service/moe-gateway?passing")), within=PATIENCE)
    yield process
    process.terminate()
    process.wait(20)


@pytest.mark.req("MOD-02", "MOD-05")
def test_the_second_model_serves_when_the_first_is_broken_and_log_and_tag_name_it(site: Site) -> None:
    assert set(site.tags()) >= {"hearth", f"model={FALLBACK['name']}", "built_in=true"}
    log = site.hearth("logs", "expert-main", "-n", "200", "--json").stdout
    events = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    refused = [event for event in events if event["event"] == "model_refused"]
    assert [(event["model"], event["reason"]) for event in refused] == [("broken", "not_a_model")]
    assert str(site.folder / "models/broken.gguf") in refused[0]["detail"]
    assert [event["model"] for event in events if event["event"] == "model_ready"] == [FALLBACK["name"]]


@pytest.mark.req("MOD-02")
def test_a_question_finds_its_way_by_consul_to_the_expert(
    site: Site, gateway: subprocess.Popen[bytes]
) -> None:
    answered = site.hearth("ask", "Say hello.", "--model", "main")
    assert (answered.returncode, bool(answered.stdout.strip())) == (0, True), answered.stderr
    told = json.loads(site.hearth("status", "--json").stdout)
    assert told["healthy"], told
    assert told["experts"]["expert-main"]["model"] == FALLBACK["name"]


@pytest.mark.req("MOD-05")
def test_the_tag_is_there_again_after_the_task_was_restarted(site: Site) -> None:
    before = site.allocation()
    site.nomad.put(f"/v1/client/allocation/{before['ID']}/restart", {"AllTasks": True})
    eventually(lambda: site.allocation()["TaskStates"]["llama_expert"]["Restarts"] > 0, within=PATIENCE)
    eventually(lambda: f"model={FALLBACK['name']}" in site.tags(), within=PATIENCE)
    assert site.allocation()["ID"] == before["ID"]


def test_a_gateway_that_is_told_to_end_leaves_consul(site: Site, gateway: subprocess.Popen[bytes]) -> None:
    gateway.terminate()
    assert gateway.wait(30) == 0
    eventually(lambda: not site.consul.get("/v1/health/service/moe-gateway"), within=10)
