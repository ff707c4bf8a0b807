"""Places to point the command at, whose services do as a test tells them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from starlette.types import Receive, Scope, Send

from clusterkit.clock import SystemClock
from clusterkit.http.guard import service_guard
from clusterkit.http.tokens import ensure_token
from clusterkit.ports.jobs import JobSpec
from clusterkit.ports.local_registry import LocalRegistry
from clusterkit.ports.registry import Instance
from clusterkit.telemetry.metrics import Metrics
from clusterkit.testing import FakeJobs
from hearth.cluster.place import ClusterPlace
from hearth.one_machine.launcher import open_control_socket, serve_control
from hearth.one_machine.layout import Layout, find_layout
from hearth.one_machine.lock import sole_holder
from hearth.one_machine.place import OneMachine
from hearth.one_machine.services import SERVICES
from hearth.place import Place
from hearth.settings import HearthSettings
from llama_expert.__main__ import make_model_servers
from llama_expert.app import expert_app
from llama_expert.model_servers import ModelServers
from llama_expert.settings import LlamaExpertSettings
from tests.servers.agents import RunningAgent, announce, run_job
from tests.servers.asgi_server import serving
from tests.servers.fake_agents import FakeAgents, fake_agents

GATEWAY = "moe-gateway"
TTL_SECONDS = 600


class StagedPlace(Protocol):
    """A place and the strings that move its services."""

    place: Place

    @property
    def key(self) -> str:
        """What its gateway asks for."""
        ...

    async def serve(
        self, service: str, port: int, *, model: str = "", healthy: bool = True, detail: str = ""
    ) -> None:
        """Have `service` listen at `port` of this machine, or say from now on how it is."""

    def job_of(self, service: str) -> str:
        """The name under which `service` is listed among what runs."""

    async def write(self, job: str, *lines: str) -> None:
        """Have a job write lines to its log."""


@dataclass
class StagedMachine:
    """This machine, with a launcher whose processes are pretended."""

    place: Place
    layout: Layout
    registry: LocalRegistry
    jobs: FakeJobs

    told: list[str] = field(default_factory=list)  #: paths of what the model servers were told to do

    def restarts(self) -> Counter[str]:
        """How often each service was stopped and started anew."""
        return self.jobs.stopped

    @asynccontextmanager
    async def experts(self) -> AsyncIterator[ModelServers]:
        """The service that runs the model servers; it starts none, and notes what it is told."""
        settings = LlamaExpertSettings(
            home=self.layout.home, models_file=self.layout.models_file, memory_mb=4000, reserve_mb=0
        )
        servers = make_model_servers(settings, SystemClock())
        token = ensure_token(self.layout.home / "secrets", "llama_expert")
        guarded = service_guard(expert_app(servers, Metrics()), token, paths=("/experts",))

        async def noting(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                self.told.append(scope["path"])
            await guarded(scope, receive, send)

        async with serving(noting) as url:
            await self.serve("expert-main", int(url.rsplit(":", 1)[-1]))
            yield servers

    @property
    def key(self) -> str:
        return ensure_token(self.layout.home / "secrets", "moe_gateway")

    async def serve(
        self, service: str, port: int, *, model: str = "", healthy: bool = True, detail: str = ""
    ) -> None:
        meta = {"model": model} if model else {}
        instance = Instance(service=service, id=service, address="127.0.0.1", port=port, meta=meta)
        if model or all(one.id != service or one.port != port for one in await self.registry.instances()):
            await self.registry.register(instance, ttl=TTL_SECONDS)
        await self.registry.heartbeat(service, healthy=healthy, detail=detail)

    def job_of(self, service: str) -> str:
        return {GATEWAY: "moe_gateway", "expert-main": "llama_expert"}.get(service, service)

    async def write(self, job: str, *lines: str) -> None:
        self.layout.logs_dir.mkdir(parents=True, exist_ok=True)
        (self.layout.logs_dir / f"{job}.log").write_text("".join(f"{line}\n" for line in lines))


@asynccontextmanager
async def staged_machine(home: Path) -> AsyncIterator[StagedMachine]:
    """A Hearth on this machine in the folder `home`."""
    layout = find_layout(home)
    layout.run_dir.mkdir(parents=True)
    jobs = FakeJobs()
    for name in SERVICES:
        await jobs.start(JobSpec(name=name, command=("true",)))
    async with AsyncExitStack() as stack:
        stack.enter_context(sole_holder(layout.lock_file))
        registry = await stack.enter_async_context(LocalRegistry(layout.registry_file, SystemClock()))
        opened = stack.enter_context(open_control_socket(layout))
        await stack.enter_async_context(serve_control(jobs, registry, layout, opened, asyncio.Event()))
        yield StagedMachine(OneMachine(layout), layout, registry, jobs)


@dataclass
class StagedCluster:
    """A cluster of one host whose agents are pretended."""

    place: Place
    key: str
    agents: FakeAgents

    async def serve(
        self, service: str, port: int, *, model: str = "", healthy: bool = True, detail: str = ""
    ) -> None:
        tags = (f"model={model}",) if model else ()
        self.agents.serve(service, port, tags=tags, healthy=healthy, notes=detail)
        self.agents.logs.setdefault(service, "")

    def job_of(self, service: str) -> str:
        return service

    async def write(self, job: str, *lines: str) -> None:
        self.agents.logs[job] = "".join(f"{line}\n" for line in lines)


@contextmanager
def staged_cluster(folder: Path) -> Iterator[StagedCluster]:
    """A cluster whose files for the operator are in `folder`."""
    with fake_agents() as agents:
        key = folder / "client.key"
        key.write_text("the-key\n")
        settings = HearthSettings(consul_url=agents.url, nomad_url=agents.url, gateway_key_file=key)
        yield StagedCluster(ClusterPlace(settings), "the-key", agents)


@dataclass
class RealCluster:
    """A cluster of one host with real agents of Consul and Nomad."""

    place: Place
    key: str
    consul: RunningAgent
    nomad: RunningAgent

    async def serve(
        self, service: str, port: int, *, model: str = "", healthy: bool = True, detail: str = ""
    ) -> None:
        tags = [f"model={model}"] if model else []
        await asyncio.to_thread(announce, self.consul, service, port, tags, healthy, detail)
        if not any(job["ID"] == service for job in self.nomad.get("/v1/jobs")):
            await self.write(service)

    def job_of(self, service: str) -> str:
        return service

    async def write(self, job: str, *lines: str) -> None:
        text = "".join(f"{line}\n" for line in lines)
        program = f"import sys, signal; sys.stderr.write({text!r}); sys.stderr.flush(); signal.pause()"
        await asyncio.to_thread(run_job, self.nomad, job, program)


@contextmanager
def real_cluster(consul: RunningAgent, nomad: RunningAgent, folder: Path) -> Iterator[RealCluster]:
    """A cluster of running agents, with nothing on it."""
    key = folder / "client.key"
    key.write_text("the-key\n")
    settings = HearthSettings(consul_url=consul.url, nomad_url=nomad.url, gateway_key_file=key)
    yield RealCluster(ClusterPlace(settings), "the-key", consul, nomad)
    for service in consul.get("/v1/agent/services"):
        consul.put(f"/v1/agent/service/deregister/{service}")
    for job in nomad.get("/v1/jobs"):
        nomad.delete(f"/v1/job/{job['ID']}?purge=true")
