"""What Consul asks of a service under Nomad, the program answers as it is wired there, without a key."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from clusterkit.clock import SystemClock
from clusterkit.ports.local_registry import LocalRegistry
from llama_expert.__main__ import serve_experts
from llama_expert.settings import LlamaExpertSettings
from moe_gateway.keys import hash_key
from moe_gateway.settings import GatewaySettings
from pipecatapp.settings import PipecatappSettings
from tests.ansible_render import ROOT
from tests.servers.agent import WORKFLOWS, running_agent
from tests.servers.gateway import running_gateway
from tests.unit.ansible_roles.jobs import HEARTH_JOBS, job, service

BEYOND_LOOPBACK = "192.0.2.11"  #: an address that the job gives; the tests listen on a port of their own


@asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[str]:
    keys = folder / "keys"
    keys.write_text(hash_key("a-clients-key") + "\n")
    async with running_gateway(GatewaySettings(home=folder, host=BEYOND_LOOPBACK, keys_file=keys)) as running:
        yield running.url


@asynccontextmanager
async def agent(folder: Path) -> AsyncIterator[str]:
    settings = PipecatappSettings(home=folder, host=BEYOND_LOOPBACK, workflows_dir=WORKFLOWS)
    async with running_agent(settings) as running:
        yield running.url


@asynccontextmanager
async def expert(folder: Path) -> AsyncIterator[str]:
    lists = yaml.safe_load((ROOT / "group_vars/all/models.yaml").read_text())
    (folder / "models.yaml").write_text(
        yaml.safe_dump(
            {key: lists[key] for key in ("fallback_max_memory_mb", "models")}
            | {"expert_models": {"main": lists["expert_models"]["main"]}}
        )
    )
    settings = LlamaExpertSettings(
        home=folder,
        port=0,
        models_file=folder / "models.yaml",
        engine="llama-server",
        llama_server_binary=Path("/bin/false"),
    )
    serving = asyncio.create_task(serve_experts(settings))
    try:
        async with LocalRegistry(settings.registry_file, SystemClock()) as registry, asyncio.timeout(30):
            index = 0
            while not (found := await registry.instances("expert-main")):
                assert not serving.done(), serving
                index = await registry.wait_for_change(index, timeout=1)
        yield f"http://{found[0].address}:{found[0].port}"
    finally:
        serving.cancel()
        await asyncio.wait({serving})


PROGRAMS = {"moe-gateway": gateway, "pipecatapp": agent, "expert-main": expert}


@pytest.mark.req("CLU-01", "MOD-02")
@pytest.mark.parametrize("name", HEARTH_JOBS)
async def test_the_path_of_the_check_is_served_by_the_wired_program_to_whoever_asks(
    name: str, tmp_path: Path
) -> None:
    (check,) = service(job(name))["Checks"]
    assert (check["Type"], check["Method"]) == ("http", "")
    async with PROGRAMS[name](tmp_path) as url, httpx.AsyncClient(base_url=url) as client:
        answer = await client.get(check["Path"])
    assert answer.status_code in (200, 503)
    assert set(answer.json()) >= {"service", "status", "checks"}
