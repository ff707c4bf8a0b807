"""What the command knows of a cluster: asked of this host's own agents of Consul and Nomad."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from clusterkit.clock import SystemClock
from clusterkit.cluster.agent_http import AgentAccess, AgentError, TokenFile, UnreachableError
from clusterkit.cluster.consul import Consul, Member
from clusterkit.cluster.consul_registry import ConsulRegistry
from clusterkit.cluster.nomad import Nomad
from clusterkit.cluster.nomad_jobs import NomadJobs
from clusterkit.cluster.nomad_records import ClientNode
from clusterkit.errors import HearthError
from clusterkit.ports.jobs import JobState, JobStatus
from clusterkit.ports.registry import Instance
from hearth.ask import Front, ask_front
from hearth.control import gateway_name
from hearth.settings import HearthSettings


class ClusterAwayError(HearthError):
    """This host's Consul agent does not answer, so nothing can be told of the cluster."""

    code = "not_running"


@dataclass(frozen=True, kw_only=True)
class Host:
    """One host as Consul's gossip and Nomad's servers see it."""

    name: str
    address: str
    alive: bool  #: by gossip
    server: bool  #: holds the cluster's state
    nomad: str  #: Nomad's word for it: ready, down, …; '' when Nomad does not know it
    eligible: bool
    draining: bool

    @property
    def healthy(self) -> bool:
        """Whether it works; one that is kept free of work on purpose does."""
        return self.alive and self.nomad == "ready"


@dataclass(frozen=True, kw_only=True)
class ClusterState:
    """Everything there is to tell about a cluster."""

    hosts: tuple[Host, ...]
    services: tuple[Instance, ...]
    jobs: tuple[JobStatus, ...]
    problems: tuple[str, ...]  #: what could not be found out, or is wrong with the cluster as a whole

    @property
    def healthy(self) -> bool:
        """Whether hosts, jobs and services all are; jobs that somebody stopped do not count."""
        wanted = [job for job in self.jobs if job.state is not JobState.STOPPED]
        return (
            not self.problems
            and all(host.healthy for host in self.hosts)
            and bool(wanted)
            and all(job.state is JobState.RUNNING for job in wanted)
            and bool(self.services)
            and all(instance.healthy for instance in self.services)
        )

    def host_of(self, instance: Instance) -> str:
        """The name of the host that an instance runs on, or ''."""
        return next((host.name for host in self.hosts if host.address == instance.address), "")


class Cluster:
    """The cluster that this host belongs to. Made by `open_cluster`."""

    def __init__(
        self, settings: HearthSettings, consul: Consul, nomad: Nomad, registry: ConsulRegistry
    ) -> None:
        """All of them are open."""
        self._settings, self.consul, self.nomad, self._registry = settings, consul, nomad, registry
        self.jobs = NomadJobs(nomad, SystemClock())

    async def state(self) -> ClusterState:
        """Everything at once. Raises `ClusterAwayError`; what only Nomad could tell becomes a problem."""
        problems: list[str] = []
        try:
            members, services = await asyncio.gather(self.consul.members(), self._registry.instances())
            if not await self.consul.leader():
                problems.append("Consul's servers have no leader: nothing can be changed")
        except UnreachableError as error:
            raise ClusterAwayError(f"{error}; see: systemctl status consul") from error
        nodes: tuple[ClientNode, ...] = ()
        jobs: tuple[JobStatus, ...] = ()
        try:
            nodes, jobs = (await self.nomad.nodes()).value, await self.jobs.list()
            await self.nomad.leader()
        except AgentError as error:
            problems.append(str(error))
        hosts = tuple(_hosts(members, nodes))
        return ClusterState(hosts=hosts, services=services, jobs=jobs, problems=tuple(problems))

    async def front(self) -> Front:
        """A healthy gateway, another one each time, and the key for it. Raises `HearthError`."""
        name = gateway_name()
        try:
            found = await self._registry.instances(name)
        except UnreachableError as error:
            raise ClusterAwayError(f"{error}; see: systemctl status consul") from error
        healthy = [instance for instance in found if instance.healthy]
        if not healthy:
            why = "; ".join(instance.detail for instance in found) or "it is not registered in Consul"
            raise HearthError(f"no {name} is healthy: {why}; see `hearth status` and `hearth logs {name}`")
        key = await asyncio.to_thread(TokenFile(self._settings.gateway_key_file).read)
        return Front(secrets.choice(healthy).url, key)


@asynccontextmanager
async def open_cluster(settings: HearthSettings) -> AsyncIterator[Cluster]:
    """The cluster of `settings`, which name its Consul. Raises `HearthError`."""
    assert settings.consul_url is not None
    if settings.nomad_url is None:
        raise HearthError("HEARTH_CONSUL_URL is set, so HEARTH_NOMAD_URL is needed as well")
    ca = settings.consul_ca_file
    to_consul = AgentAccess(url=settings.consul_url, ca_file=ca, token_file=settings.consul_token_file)
    to_nomad = AgentAccess(url=settings.nomad_url, ca_file=ca, token_file=settings.nomad_token_file)
    async with AsyncExitStack() as stack:
        consul = await stack.enter_async_context(Consul(to_consul))
        nomad = await stack.enter_async_context(Nomad(to_nomad))
        registry = await stack.enter_async_context(ConsulRegistry(to_consul, SystemClock()))
        yield Cluster(settings, consul, nomad, registry)


def _hosts(members: Iterable[Member], nodes: Iterable[ClientNode]) -> Iterable[Host]:
    # Nomad keeps rows of hosts that were wiped and came back: the latest word on a name counts.
    known = {node.name: node for node in sorted(nodes, key=lambda node: node.ready)}
    for member in members:
        node = known.pop(member.name, None)
        yield Host(
            name=member.name,
            address=member.address,
            alive=member.alive,
            server=member.server,
            nomad=node.status if node else "",
            eligible=node is not None and node.eligible,
            draining=node is not None and node.draining,
        )
    for node in known.values():
        yield Host(
            name=node.name,
            address=node.address,
            alive=False,
            server=False,
            nomad=node.status,
            eligible=node.eligible,
            draining=node.draining,
        )


async def ask_cluster(settings: HearthSettings, text: str, *, model: str, echo: bool, timeout: float) -> str:
    """Ask by way of a gateway of the cluster; see `ask_front`. Raises `HearthError`."""
    async with open_cluster(settings) as cluster:
        front = await cluster.front()
    return await ask_front(front, text, model=model, echo=echo, timeout=timeout)
