"""How this Hearth is: its services, the models they run, and the machine."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import psutil

from clusterkit.errors import HearthError
from clusterkit.ports.registry import Instance, Registry
from pipecatapp.tools.base import Risk, ToolArguments, ToolContext, ToolError, ToolResult

REGISTRY_TIMEOUT = 5.0  #: seconds
_GIB = 2**30


class SystemStatus:
    """Reads the registry and the machine's load."""

    name: ClassVar[str] = "system_status"
    aliases: ClassVar[tuple[str, ...]] = ("mcp_tool",)
    description: ClassVar[str] = (
        "Report which services run and are healthy, which models are active, and the load of this machine."
    )
    risk: ClassVar[Risk] = Risk.READ

    class Arguments(ToolArguments):
        """Nothing to choose."""

    def __init__(self, registry: Registry, disk: Path) -> None:
        """`disk`: a path on the file system whose free space is told."""
        self._registry, self._disk = registry, disk

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """The state, as data {"healthy", "services", "host"} and as text, one line per service."""
        try:
            async with asyncio.timeout(REGISTRY_TIMEOUT):
                instances = await self._registry.instances()
        except TimeoutError as error:
            raise ToolError(f"the registry did not answer within {REGISTRY_TIMEOUT:g} s") from error
        except HearthError as error:
            raise ToolError(f"the registry cannot be read: {error}") from error
        host = await asyncio.to_thread(_host, self._disk)
        services = [_service(instance) for instance in instances]
        healthy = bool(services) and all(service["healthy"] for service in services)
        data = {"healthy": healthy, "services": services, "host": host}
        return ToolResult(data, _text(services, host))


def _service(instance: Instance) -> dict[str, Any]:
    return {
        "service": instance.service,
        "id": instance.id,
        "healthy": instance.healthy,
        "detail": instance.detail,
        "model": instance.meta.get("model"),
    }


def _host(disk: Path) -> dict[str, Any]:
    memory, free = psutil.virtual_memory(), psutil.disk_usage(str(disk))
    return {
        "cpu_count": psutil.cpu_count() or 1,
        "load_1m": round(psutil.getloadavg()[0], 2),
        "memory_total_gib": round(memory.total / _GIB, 1),
        "memory_available_gib": round(memory.available / _GIB, 1),
        "disk_total_gib": round(free.total / _GIB, 1),
        "disk_free_gib": round(free.free / _GIB, 1),
    }


def _text(services: Sequence[dict[str, Any]], host: dict[str, Any]) -> str:
    well = sum(service["healthy"] for service in services)
    lines = [f"{well} of {len(services)} services are healthy."]
    for service in services:
        state = "healthy" if service["healthy"] else f"not healthy ({service['detail'] or 'no reason given'})"
        model = f", model {service['model']}" if service["model"] else ""
        lines.append(f"- {service['service']}: {state}{model}")
    lines.append(
        f"This machine: load {host['load_1m']} on {host['cpu_count']} cores, "
        f"{host['memory_available_gib']} of {host['memory_total_gib']} GiB memory available, "
        f"{host['disk_free_gib']} of {host['disk_total_gib']} GiB disk free."
    )
    return "\n".join(lines)
