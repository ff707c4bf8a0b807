"""The registry of a cluster: Consul.

What belongs to Hearth carries the tag `hearth`; facts about an instance are tags `key=value`, the path
before its requests is its meta `base_path`. An instance is healthy when a check of its own says so and
none, of it or of its host, says otherwise.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal, Self

import structlog

from clusterkit.clock import Clock
from clusterkit.cluster.agent_http import AgentAccess, NotFoundError, UnreachableError, Wait
from clusterkit.cluster.consul import CatalogService, CheckStatus, Consul, ServiceCheck
from clusterkit.ports.registry import Instance

TAG = "hearth"
FORGOTTEN_AFTER = "10m"  #: instances that announced themselves and fell silent for so long are removed
WAKE_SECONDS = 0.1  #: least time between two news of a change; a storm of them is told as one
SETTLE_SECONDS = 5.0  #: what the agent gets to pass an announcement on to the servers
#: How long what was read last stands in for an agent that is being restarted or does not answer.
REMEMBERED_SECONDS = 30.0
NO_HEARTBEAT = "no heartbeat yet"

Announce = Literal["self", "nomad"]

log = structlog.get_logger()


@dataclass
class _Announced:
    instance: Instance
    ttl: float


class ConsulRegistry:
    """`Registry` on Consul. Use as an async context manager.

    `announce="self"`: instances announce themselves. `announce="nomad"`: Nomad has registered them and
    checks them; of what they tell only their meta is written, as tags. `upstreams`: where a proxy leads to
    services by name, for requests to any of their instances.
    """

    def __init__(
        self,
        access: AgentAccess,
        clock: Clock,
        *,
        announce: Announce = "self",
        upstreams: Mapping[str, tuple[str, int]] | None = None,
    ) -> None:
        """Nothing is contacted yet."""
        self._upstreams = upstreams or {}
        self._consul, self._clock, self._announce = Consul(access), clock, announce
        self._announced: dict[str, _Announced] = {}
        self._remembered: dict[str | None, tuple[float, tuple[Instance, ...]]] = {}
        self._seen = 0  #: index of the last list of services
        self._woken = float("-inf")
        self._untaggable: set[str] = set()

    async def __aenter__(self) -> Self:
        """Open the client."""
        await self._consul.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self._consul.__aexit__(kind, error, trace)

    # --- announcing ---------------------------------------------------------------------------------
    async def register(self, instance: Instance, *, ttl: float) -> None:
        """See `Registry.register`."""
        fresh = replace(instance, healthy=False, detail=NO_HEARTBEAT, meta=dict(instance.meta))
        if self._announce == "self":
            await self._tell(fresh, ttl)
        self._announced[instance.id] = _Announced(fresh, ttl)

    async def heartbeat(
        self, instance_id: str, *, healthy: bool, detail: str = "", meta: Mapping[str, str] | None = None
    ) -> None:
        """See `Registry.heartbeat`."""
        announced = self._announced.get(instance_id)
        if announced is None:
            return
        new_meta = announced.instance.meta if meta is None else dict(meta)
        now = replace(announced.instance, healthy=healthy, detail=detail, meta=new_meta)
        if self._announce == "nomad":
            await self._tag(now)
        elif now != announced.instance or not await self._renew(now):
            await self._tell(now, announced.ttl)
        announced.instance = now

    async def deregister(self, instance_id: str) -> None:
        """See `Registry.deregister`."""
        announced = self._announced.pop(instance_id, None)
        if self._announce == "self":
            await self._consul.deregister_service(instance_id)
            if announced is not None:
                await self._settled(announced.instance.service, instance_id, None)

    async def _tell(self, instance: Instance, ttl: float) -> None:
        # Whole, at every change: an agent passes a new definition on at once, but keeps back for
        # minutes when only the words of a check have changed.
        definition = {
            "ID": instance.id,
            "Name": instance.service,
            "Address": instance.address,
            "Port": instance.port,
            "Tags": [TAG, *_tags(instance.meta)],
            "Meta": {"base_path": instance.base_path},
            "Check": {
                "CheckID": _check_id(instance.id),
                "Name": "heartbeat",
                "TTL": f"{ttl:g}s",
                "Notes": instance.detail,
                "DeregisterCriticalServiceAfter": FORGOTTEN_AFTER,
            },
        }
        await self._consul.register_service(definition)
        # The agent goes on with what a check of that id said before.
        await self._renew(instance)
        await self._settled(instance.service, instance.id, instance)

    async def _renew(self, instance: Instance) -> bool:
        try:
            await self._consul.update_check(_check_id(instance.id), _status(instance.healthy), "")
        except NotFoundError:
            log.warning("forgotten_by_agent", instance=instance.id)
            return False
        return True

    async def _settled(self, service: str, instance_id: str, wanted: Instance | None) -> None:
        """Wait until the servers know what the agent was told, so that one reads what one has written."""
        index, until = 0, self._clock.monotonic() + SETTLE_SECONDS
        while (left := until - self._clock.monotonic()) > 0:
            wait = Wait(index=index, seconds=left) if index else None
            reading = await self._consul.service(service, wait=wait, stale=False)
            present = {entry.id: _instance(entry) for entry in reading.value}.get(instance_id)
            if present == wanted:
                return
            index = reading.index
        log.warning("announcement_not_passed_on", instance=instance_id, after_s=SETTLE_SECONDS)

    async def _tag(self, instance: Instance) -> None:
        """Bring the tags of what Nomad registered for `instance` in line with its meta."""
        if instance.id in self._untaggable:
            return
        reading = await self._consul.service(instance.service)
        for entry in reading.value:
            if (entry.address, entry.port) != (instance.address, instance.port):
                continue
            if not entry.enable_tag_override:
                # Its tags belong to the job alone; nothing here will change that.
                self._untaggable.add(instance.id)
                return
            fixed = [tag for tag in entry.tags if "=" not in tag]
            wanted = [*fixed, *_tags(instance.meta)]
            if list(entry.tags) != wanted:
                await self._consul.set_tags(entry, wanted)
                log.info("tags_written", service=instance.service, tags=wanted)

    # --- looking ------------------------------------------------------------------------------------
    async def instances(self, service: str | None = None) -> tuple[Instance, ...]:
        """See `Registry.instances`; while the agent cannot be reached, what was so a moment ago."""
        now = self._clock.monotonic()
        try:
            present = await self._read_instances(service)
        except UnreachableError:
            at, remembered = self._remembered.get(service, (float("-inf"), ()))
            if now - at > REMEMBERED_SECONDS:
                raise
            return remembered
        self._remembered[service] = (now, present)
        return present

    async def _read_instances(self, service: str | None) -> tuple[Instance, ...]:
        names = [service] if service is not None else await self._names()
        by_name = await asyncio.gather(*(self._entries(name) for name in names))
        mine = [
            self._reached(_instance(entry)) for entries in by_name for entry in entries if TAG in entry.tags
        ]
        return tuple(sorted(mine, key=lambda instance: (instance.service, instance.id)))

    def _reached(self, instance: Instance) -> Instance:
        address, port = self._upstreams.get(instance.service, (instance.address, instance.port))
        return replace(instance, address=address, port=port)

    async def _names(self) -> list[str]:
        reading = await self._consul.services()
        if reading.index < self._seen and reading.known_leader:
            # Another server answered, and it lags behind the one before.
            reading = await self._consul.services(stale=False)
        self._seen = reading.index
        return [name for name, tags in reading.value.items() if TAG in tags]

    async def _entries(self, service: str) -> tuple[CatalogService, ...]:
        reading = await self._consul.service(service)
        return reading.value

    async def wait_for_change(self, index: int, *, timeout: float) -> int:
        """See `Registry.wait_for_change`; changes of what is not Hearth's are told as well."""
        pause = self._woken + WAKE_SECONDS - self._clock.monotonic()
        if index and pause > 0:
            await self._clock.sleep(min(pause, timeout))
        wait = Wait(index=index, seconds=timeout) if index and timeout > 0 else None
        present = await self._first_news(index, wait)
        self._woken = self._clock.monotonic()
        return present

    async def _first_news(self, index: int, wait: Wait | None) -> int:
        """The index of the first change of the catalogue or of a check, or the present one.

        A present index below `index` says that Consul's state is another one, restored or begun anew.
        """
        asking: set[asyncio.Task[int]] = {
            asyncio.create_task(self._services_index(wait)),
            asyncio.create_task(self._checks_index(wait)),
        }
        present = 0
        try:
            while asking:
                done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                present = max([present, *(task.result() for task in done)])
                if index and present > index:
                    break
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        return present

    async def _services_index(self, wait: Wait | None) -> int:
        return (await self._consul.services(wait=wait)).index

    async def _checks_index(self, wait: Wait | None) -> int:
        return (await self._consul.checks(wait=wait)).index


def _check_id(instance_id: str) -> str:
    return f"{TAG}:{instance_id}"


def _status(healthy: bool) -> CheckStatus:
    return CheckStatus.PASSING if healthy else CheckStatus.CRITICAL


def _tags(meta: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in sorted(meta.items())]


def _instance(entry: CatalogService) -> Instance:
    problems = [_problem(check) for check in entry.checks if check.status is CheckStatus.CRITICAL]
    if not any(check.service_id for check in entry.checks):
        problems.append("no health check yet")
    return Instance(
        service=entry.service,
        id=entry.id,
        address=entry.address,
        port=entry.port,
        base_path=entry.meta.get("base_path", ""),
        healthy=not problems,
        detail="; ".join(problem for problem in problems if problem),
        meta=dict(tag.split("=", 1) for tag in entry.tags if "=" in tag),
    )


def _problem(check: ServiceCheck) -> str:
    if not check.service_id:
        return f"host {check.node}: {check.output or check.id}"
    if check.output.startswith("TTL expired"):
        return "heartbeat lapsed"
    return check.notes or " ".join(check.output.split())
