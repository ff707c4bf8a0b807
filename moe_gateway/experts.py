"""The live view of who serves what: follows the registry, keeps an immutable table for the data plane."""

from collections.abc import Iterable

import structlog

from clusterkit.clock import Clock
from clusterkit.errors import HearthError
from clusterkit.ports.registry import Instance, Registry
from moe_gateway.routing import Backend, Naming, RoutingTable, build_table

WAIT_S = 30.0  #: how long one wait for a change lasts
RETRY_S = 1.0  #: pause before an unreadable registry is tried again

log = structlog.get_logger()


class ExpertView:
    """`table` is replaced whole whenever the registry changes; while the registry fails, it stays."""

    def __init__(self, registry: Registry, clock: Clock, naming: Naming, catalogued: Iterable[str]) -> None:
        """`catalogued` are the catalogue's experts, listed even when nothing serves them."""
        self._registry, self._clock, self._naming, self._catalogued = (
            registry,
            clock,
            naming,
            tuple(catalogued),
        )
        self.table: RoutingTable = build_table(naming, self._catalogued, ())
        self.problem = "not read yet"  #: why the table may be out of date, or ''

    async def run(self) -> None:
        """Follow the registry until cancelled."""
        index = 0
        while True:
            try:
                index = await self._registry.wait_for_change(index, timeout=WAIT_S)
                await self.refresh()
            except (HearthError, OSError) as error:
                problem = str(error) or type(error).__name__
                if problem != self.problem:
                    log.warning("registry_unreadable", problem=problem)
                self.problem = problem
                index = 0  # what was missed is not told again
                await self._clock.sleep(RETRY_S)

    async def refresh(self) -> None:
        """Read the registry now. Raises what the registry raises; the table then stays as it was."""
        instances = await self._registry.instances()
        self.table = build_table(
            self._naming, self._catalogued, [_backend(instance) for instance in instances]
        )
        self.problem = ""


def _backend(instance: Instance) -> Backend:
    return Backend(
        service=instance.service,
        host=instance.address,
        port=instance.port,
        base_path=instance.base_path,
        healthy=instance.healthy,
        detail=instance.detail,
        model=instance.meta.get("model", ""),
        waits=instance.meta.get("waits") == "true",
    )
