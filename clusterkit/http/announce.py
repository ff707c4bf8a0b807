"""Keeps a service announced in the registry for as long as it runs."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from clusterkit.errors import HearthError
from clusterkit.http.health import Health, HealthProbe, probe_health
from clusterkit.ports.registry import Instance, Registry

HEARTBEAT_SECONDS = 2.0  #: between heartbeats of a healthy service
UNHEALTHY_HEARTBEAT_SECONDS = 0.2  #: while it is not yet healthy, so that others see it come up at once
HEARTBEAT_TTL_SECONDS = 8.0  #: after so long without a heartbeat a service counts as gone

log = structlog.get_logger()


async def keep_announced(
    registry: Registry, probe: HealthProbe, instances: Callable[[Health], Sequence[Instance]]
) -> None:
    """Announce what `instances` lists for the health of the moment, until cancelled; then take it off.

    A registry that fails is tried again with the next heartbeat.
    """
    announced_ids: set[str] = set()
    was: tuple[bool, str] | None = None
    try:
        while True:
            state = await probe_health(probe)
            if (state.ok, state.detail) != was:
                was = (state.ok, state.detail)
                log.info("health", ok=state.ok, detail=state.detail)
            present = instances(state)
            try:
                await _announce(registry, present, announced_ids)
            except HearthError as error:
                # The registry may be back for the next heartbeat; until then others see us lapse.
                log.warning("heartbeat_failed", code=error.code, problem=str(error))
            settled = state.ok and all(instance.healthy for instance in present)
            await asyncio.sleep(HEARTBEAT_SECONDS if settled else UNHEALTHY_HEARTBEAT_SECONDS)
    finally:
        for instance_id in announced_ids:
            try:
                await registry.deregister(instance_id)
            except HearthError as error:
                log.warning("not_deregistered", code=error.code, problem=str(error))


async def _announce(registry: Registry, present: Sequence[Instance], announced_ids: set[str]) -> None:
    async def announce(instance: Instance) -> None:
        if instance.id not in announced_ids:
            await registry.register(instance, ttl=HEARTBEAT_TTL_SECONDS)
            announced_ids.add(instance.id)
        await registry.heartbeat(
            instance.id, healthy=instance.healthy, detail=instance.detail, meta=instance.meta
        )

    # All at once: the local registry then waits for the disk once a beat, not once an instance.
    await asyncio.gather(*(announce(instance) for instance in present))
    for gone in announced_ids - {instance.id for instance in present}:
        await registry.deregister(gone)
        announced_ids.discard(gone)
