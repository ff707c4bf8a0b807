"""Which registry a service uses: its settings decide, nobody else knows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from clusterkit.clock import Clock
from clusterkit.cluster.agent_http import AgentAccess
from clusterkit.cluster.consul_registry import ConsulRegistry
from clusterkit.config.settings import ServiceSettings, address_and_port
from clusterkit.ports.local_registry import LocalRegistry
from clusterkit.ports.registry import Registry


@asynccontextmanager
async def open_registry(settings: ServiceSettings, clock: Clock) -> AsyncIterator[Registry]:
    """Consul where the settings name it, else the registry of this machine. Raises `HearthError`."""
    if settings.consul_url is None:
        async with LocalRegistry(settings.registry_file, clock) as local:
            yield local
        return
    access = AgentAccess(
        url=settings.consul_url, ca_file=settings.consul_ca_file, token_file=settings.consul_token_file
    )
    upstreams = {name: address_and_port(way) for name, way in settings.upstreams.items()}
    async with ConsulRegistry(access, clock, announce=settings.announce, upstreams=upstreams) as consul:
        yield consul
