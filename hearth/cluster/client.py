"""What the command knows of a cluster: asked of this host's own agents of Consul and Nomad."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from clusterkit.clock import SystemClock
from clusterkit.cluster.agent_http import AgentAccess, AgentError, TokenFile, UnreachableError
from clusterkit.cluster.consul import Consul
from clusterkit.cluster.consul_registry import ConsulRegistry
from clusterkit.cluster.nomad import Nomad
from clusterkit.cluster.nomad_jobs import NomadJobs
from clusterkit.cluster.nomad_records import ClientNode
from clusterkit.config.settings import load_settings
from clusterkit.errors import HearthError
from clusterkit.ports.jobs import JobStatus
from hearth.cluster.state import ClusterState, hosts_of
from hearth.place import FrontDoor, NotRunningError
from hearth.settings import HearthSettings
from moe_gateway.settings import GatewaySettings


class Cluster:
    """The cluster that this host belongs to. Made by `open_cluster`."""

    def __init__(
        self, settings: HearthSettings, consul: Consul, nomad: Nomad, registry: ConsulRegistry
    ) -> None:
        """All of them are open."""
        self._settings, self.consul, self.nomad, self._registry = settings, consul, nomad, registry
        self.jobs = NomadJobs(nomad)

    async def state(self) -> ClusterState:
        """Everything at once. Raises `NotRunningError`; what only Nomad could tell becomes a problem."""
        problems: list[str] = []
        try:
            members, services = await asyncio.gather(self.consul.members(), self._registry.instances())
            if not await self.consul.leader():
                problems.append("Consul's servers have no leader: nothing can be changed")
        except UnreachableError as error:
            raise NotRunningError(f"{error}; see: systemctl status consul") from error
        nodes: tuple[ClientNode, ...] = ()
        jobs: tuple[JobStatus, ...] = ()
        try:
            nodes, jobs = (await self.nomad.nodes()).value, await self.jobs.list()
            await self.nomad.leader()
        except AgentError as error:
            problems.append(str(error))
        hosts = tuple(hosts_of(members, nodes))
        return ClusterState(hosts=hosts, services=services, jobs=jobs, problems=tuple(problems))

    async def front_door(self) -> FrontDoor:
        """A healthy gateway, another one each time, and the key for it. Raises `HearthError`."""
        name = load_settings(GatewaySettings).service_name
        try:
            gateways = await self._registry.instances(name)
        except UnreachableError as error:
            raise NotRunningError(f"{error}; see: systemctl status consul") from error
        healthy = [instance for instance in gateways if instance.healthy]
        if not healthy:
            why = "; ".join(instance.detail for instance in gateways) or "it is not registered in Consul"
            raise HearthError(f"no {name} is healthy: {why}; see `hearth status` and `hearth logs {name}`")
        key = await asyncio.to_thread(TokenFile(self._settings.gateway_key_file).read)
        return FrontDoor(secrets.choice(healthy).url, key)


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
