"""Real agents of Consul and Nomad in development mode, for tests: in memory, on free ports."""

import json
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from clusterkit.cluster.nomad_records import TERMINAL
from clusterkit.config.environment import environment
from tests.integration.waiting import eventually
from tests.servers.free_ports import free_ports

CACHE = Path("~/.cache/hearth/bin").expanduser()
START_SECONDS = 60.0


def agent_binary(product: str) -> Path:
    """The program of `consul` or `nomad`; the test is skipped, loudly, where there is none."""
    variable = f"HEARTH_{product.upper()}_BINARY"
    named = environment().get(variable)
    found = [Path(named)] if named else sorted(CACHE.glob(f"{product}-[0-9]*"))
    if not found or not found[0].is_file():
        pytest.skip(f"no program of {product}: set {variable}, or build one into {CACHE}")
    return found[0]


@dataclass(frozen=True)
class RunningAgent:
    """A running agent."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]
    verify: ssl.SSLContext | bool = True

    def get(self, path: str, token: str = "") -> Any:
        """What the agent itself says at `path`, past every client of ours."""
        return self._ask("GET", path, None, token)

    def put(self, path: str, body: Any = None, token: str = "") -> Any:
        """Tell the agent something, past every client of ours."""
        return self._ask("PUT", path, body, token)

    def post(self, path: str, body: Any = None, token: str = "") -> Any:
        """Tell the agent something, past every client of ours."""
        return self._ask("POST", path, body, token)

    def delete(self, path: str) -> Any:
        """Have the agent forget something, past every client of ours."""
        return self._ask("DELETE", path, None, "")

    def _ask(self, method: str, path: str, body: Any, token: str) -> Any:
        headers = {"x-consul-token": token, "x-nomad-token": token} if token else {}
        with httpx.Client(verify=self.verify, trust_env=False, timeout=10) as client:
            answer = client.request(method, f"{self.url}{path}", json=body, headers=headers)
        answer.raise_for_status()
        return answer.json() if answer.content else None


@contextmanager
def consul_agent(*, settings: Mapping[str, Any] | None = None) -> Iterator[RunningAgent]:
    """A Consul server of its own; `settings` are added to its configuration."""
    http, server, lan, wan = free_ports(4)
    ports = {"http": http, "server": server, "serf_lan": lan, "serf_wan": wan}
    off = {name: -1 for name in ("https", "grpc", "grpc_tls", "dns")}
    configuration = {"ports": {**ports, **off}, **(settings or {})}
    with _agent(
        [str(agent_binary("consul")), "agent", "-dev", "-log-level", "warn", "-node", "here"],
        configuration,
        f"http://127.0.0.1:{http}",
        "-config-file",
    ) as running:
        yield running


@contextmanager
def nomad_agent(
    *, settings: Mapping[str, Any] | None = None, authority: Path | None = None
) -> Iterator[RunningAgent]:
    """A Nomad server and client in one that runs programs as they are (`raw_exec`).

    `authority`: who vouches for its certificate, where `settings` turn TLS on.
    """
    http, rpc, serf = free_ports(3)
    quiet = {"fingerprint.denylist": "env_aws,env_gce,env_azure,env_digitalocean"}
    configuration = {
        "ports": {"http": http, "rpc": rpc, "serf": serf},
        "plugin": [{"raw_exec": [{"config": [{"enabled": True}]}]}],
        "client": {"options": quiet, "cpu_total_compute": 4000, "memory_total_mb": 4096},
        "consul": {"address": "127.0.0.1:9", "client_auto_join": False, "server_auto_join": False},
        **(settings or {}),
    }
    with _agent(
        [str(agent_binary("nomad")), "agent", "-dev", "-log-level", "warn", "-node", "here"],
        configuration,
        f"{'https' if authority else 'http'}://127.0.0.1:{http}",
        "-config",
        authority,
    ) as running:
        if "acl" in configuration:
            yield running
            return
        wait_until_ready(running)
        try:
            yield running
        finally:
            _end_every_job(running)


def _end_every_job(agent: RunningAgent) -> None:
    # A program would outlive its agent.
    for job in agent.get("/v1/jobs"):
        whole = agent.get(f"/v1/job/{job['ID']}")
        agent.post("/v1/jobs", {"Job": {**whole, "Stop": True}})
    eventually(
        lambda: all(one["ClientStatus"] in TERMINAL for one in agent.get("/v1/allocations")),
        within=START_SECONDS,
    )


def wait_until_ready(agent: RunningAgent, token: str = "") -> None:
    """Return once a Nomad agent takes work."""
    eventually(
        lambda: any(node["Status"] == "ready" for node in agent.get("/v1/nodes", token)), within=START_SECONDS
    )


def announce(consul: RunningAgent, name: str, port: int, tags: list[str], healthy: bool, detail: str) -> None:
    """Register a service as Nomad would; returns when the servers know it."""
    check = {"CheckID": name, "TTL": "600s", "Notes": detail}
    service = {"ID": name, "Name": name, "Address": "127.0.0.1", "Port": port, "Tags": ["hearth", *tags]}
    consul.put("/v1/agent/service/register?replace-existing-checks", {**service, "Check": check})
    status = "passing" if healthy else "critical"
    consul.put(f"/v1/agent/check/update/{name}", {"Status": status})

    def is_known() -> bool:
        rows = consul.get(f"/v1/health/service/{name}")
        return [(row["Checks"][-1]["Status"], row["Service"]["Port"]) for row in rows] == [(status, port)]

    eventually(is_known, within=10)


def run_job(nomad: RunningAgent, name: str, program: str) -> None:
    """Have Nomad run a Python program as job `name`; returns when it runs."""
    task = {
        "Name": name,
        "Driver": "raw_exec",
        "Config": {"command": sys.executable, "args": ["-c", program]},
        "Resources": {"CPU": 20, "MemoryMB": 50},
    }
    group = {"Name": name, "Count": 1, "Tasks": [task]}
    job = {"ID": name, "Name": name, "Type": "service", "Datacenters": ["*"], "TaskGroups": [group]}
    index = nomad.post("/v1/jobs", {"Job": job})["JobModifyIndex"]

    def runs() -> bool:
        rows = nomad.get(f"/v1/job/{name}/allocations")
        return any(row["ClientStatus"] == "running" and row["CreateIndex"] >= index for row in rows)

    eventually(runs, within=60)


@contextmanager
def _agent(
    command: list[str],
    configuration: Mapping[str, Any],
    url: str,
    option: str,
    authority: Path | None = None,
) -> Iterator[RunningAgent]:
    folder = Path(tempfile.mkdtemp(prefix="hearth-agent-"))
    file = folder / "agent.json"
    file.write_text(json.dumps(configuration))
    log = folder / "agent.log"
    # Nomad keeps the files of its programs under TMPDIR, and hands its environment on to them.
    told = {**environment(), "TMPDIR": str(folder)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, option, str(file)], stdout=output, stderr=output, cwd=folder, env=told
        )
    verify = ssl.create_default_context(cafile=authority) if authority else True
    running = RunningAgent(url, folder, process, verify)
    try:
        _wait_until_it_leads(running, log)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _leave_nothing(folder)


def _leave_nothing(folder: Path) -> None:
    """End what an agent left running, and unmount and remove what it kept in `folder`."""
    for left in psutil.process_iter():
        with suppress(psutil.Error):
            if left.environ().get("TMPDIR") == str(folder):
                left.kill()
    for mounted in psutil.disk_partitions(all=True):
        if mounted.mountpoint.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", mounted.mountpoint], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_leads(agent: RunningAgent, log: Path) -> None:
    def leads() -> bool:
        assert agent.process.poll() is None, log.read_text()[-3000:]
        try:
            return bool(agent.get("/v1/status/leader"))
        except httpx.HTTPError:
            return False  # not listening, or no leader yet

    eventually(leads, within=START_SECONDS)
