"""The client of a running `hearth up`: its control socket, and the registry its services share."""

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass

import httpx

from clusterkit.clock import Clock, SystemClock
from clusterkit.config.catalogue import SERVICE_PREFIX
from clusterkit.config.settings import load_settings
from clusterkit.errors import HearthError
from clusterkit.ports.jobs import JobState, JobStatus
from clusterkit.ports.local_registry import LocalRegistry
from clusterkit.ports.registry import Instance
from hearth.house import SERVICES, House
from hearth.lock import holder
from moe_gateway.settings import SERVICE as GATEWAY
from moe_gateway.settings import GatewaySettings

STOP_SECONDS = 20.0  #: what everything together gets to stop before it is killed
_POLL_SECONDS = 0.1


class NotRunningError(HearthError):
    """Hearth is not running; start it with `hearth up`."""

    code = "not_running"

    def __init__(self) -> None:
        """The docstring is the message."""
        super().__init__(type(self).__doc__)


@dataclass(frozen=True)
class Snapshot:
    """Everything there is to know about a running house."""

    jobs: tuple[JobStatus, ...]
    instances: tuple[Instance, ...]

    @property
    def healthy(self) -> bool:
        """Whether every service runs, has announced itself, and is healthy."""
        announced = {_deployable(instance) for instance in self.instances}
        return (
            set(SERVICES) <= {job.name for job in self.jobs}
            and all(job.state is JobState.RUNNING for job in self.jobs)
            and set(SERVICES) <= announced
            and all(instance.healthy for instance in self.instances)
        )

    def of(self, service: str) -> tuple[Instance, ...]:
        """What a deployable has announced."""
        return tuple(instance for instance in self.instances if _deployable(instance) == service)


def _deployable(instance: Instance) -> str:
    if instance.service.startswith(SERVICE_PREFIX):
        return "llama_expert"
    return GATEWAY if instance.service == gateway_name() else instance.service


def gateway_name() -> str:
    """The gateway's name in the registry. Raises `SettingsError`."""
    return load_settings(GatewaySettings).service_name


class Control:
    """Asks and commands a running house."""

    def __init__(self, house: House, clock: Clock | None = None) -> None:
        """Nothing is contacted yet."""
        self._house, self._clock = house, clock or SystemClock()

    def _client(self) -> httpx.AsyncClient:
        if holder(self._house.lock_file) is None:
            raise NotRunningError
        transport = httpx.AsyncHTTPTransport(uds=str(self._house.control_socket))
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30)

    async def jobs(self) -> tuple[JobStatus, ...]:
        """How the processes are. Raises `NotRunningError`."""
        async with self._client() as client:
            try:
                answer = await client.get("/jobs")
            except httpx.TransportError as error:
                raise NotRunningError from error
            answer.raise_for_status()
        return tuple(JobStatus(**{**row, "state": JobState(row["state"])}) for row in answer.json())

    async def instances(self) -> tuple[Instance, ...]:
        """What the services have announced."""
        if not self._house.registry_file.exists():
            return ()
        async with LocalRegistry(self._house.registry_file, self._clock) as registry:
            return await registry.instances()

    async def snapshot(self) -> Snapshot:
        """Processes and services together. Raises `NotRunningError`."""
        return Snapshot(await self.jobs(), await self.instances())

    async def url_of(self, service: str) -> str:
        """The URL of a running deployable. Raises `NotRunningError`, `HearthError` when it is not there."""
        if holder(self._house.lock_file) is None:
            raise NotRunningError
        found = [instance for instance in await self.instances() if _deployable(instance) == service]
        if not found:
            raise HearthError(
                f"{service} has not started yet; see `hearth status` and `hearth logs {service}`"
            )
        return found[0].url

    async def restart(self, service: str) -> None:
        """Start a service anew with the settings of now. Raises `NotRunningError`."""
        async with self._client() as client:
            (await client.post(f"/jobs/{service}/restart")).raise_for_status()

    async def stop(self) -> bool:
        """Stop everything; False when nothing ran. Returns when no process is left."""
        pid = holder(self._house.lock_file)
        if pid is None:
            return False
        with suppress(httpx.HTTPError, NotRunningError):
            async with self._client() as client:
                await client.post("/shutdown")
        if await self._gone(STOP_SECONDS):
            return True
        for number in (signal.SIGTERM, signal.SIGKILL):
            # The kernel tells the services when this process dies, so they end with it.
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            if await self._gone(STOP_SECONDS / 2):
                return True
        raise HearthError(f"process {pid} does not end; look at it with: ps -fp {pid}")

    async def _gone(self, seconds: float) -> bool:
        until = self._clock.monotonic() + seconds
        while holder(self._house.lock_file) is not None:
            if self._clock.monotonic() > until:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True
