"""Whether the agent can do its job."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from clusterkit.catalogue import SERVICE_PREFIX
from clusterkit.errors import HearthError
from clusterkit.event_log import EventLog
from clusterkit.registry import Instance, Registry
from clusterkit.service import Check, Health, HealthProbe
from pipecatapp.nodes.registry import NodeRegistry
from pipecatapp.runs.library import WorkflowLibrary
from pipecatapp.tools.registry import ToolRegistry

MAIN_EXPERT = f"{SERVICE_PREFIX}main"  #: the expert whose model people are told about


def agent_health(
    *,
    registry: Registry,
    library: WorkflowLibrary,
    workflow: str,
    gateway_service: str,
    events: EventLog,
    nodes: NodeRegistry,
    environment: str,
) -> HealthProbe:
    """The agent needs its workflow, the gateway with an expert behind it, and its event log."""

    async def health() -> Health:
        await events.try_again()
        instances = await _instances(registry)
        main = _main(instances or ())
        return Health(
            (
                await _workflow(library, workflow),
                _gateway(instances, gateway_service),
                Check("event_log", events.write_failure is None, events.write_failure or ""),
            ),
            info={
                "environment": environment,
                "model": main.meta.get("model", "") if main else "",
                "built_in_model": main is not None and main.meta.get("built_in") == "true",
                "broken_plugins": [plugin.file for plugin in nodes.broken],
            },
        )

    return health


def tools_for_main(registry: Registry, tools: ToolRegistry) -> Callable[[], Awaitable[Sequence[str]]]:
    """All tools, when the main expert's model of the moment is good enough for them, else none."""

    async def offered() -> Sequence[str]:
        main = _main(await registry.instances(MAIN_EXPERT))
        return tools.names if main is not None and main.meta.get("tools") == "true" else ()

    return offered


def _main(instances: Sequence[Instance]) -> Instance | None:
    return next((one for one in instances if one.service == MAIN_EXPERT and one.healthy), None)


async def _instances(registry: Registry) -> tuple[Instance, ...] | None:
    try:
        return await registry.instances()
    except HearthError:
        return None


async def _workflow(library: WorkflowLibrary, workflow: str) -> Check:
    try:
        await asyncio.to_thread(library.load, workflow)
    except HearthError as error:
        return Check("workflow", False, str(error))
    return Check("workflow", True)


def _gateway(instances: tuple[Instance, ...] | None, service: str) -> Check:
    if instances is None:
        return Check("gateway", False, "the registry cannot be read")
    found = [one for one in instances if one.service == service]
    if any(one.healthy for one in found):
        return Check("gateway", True)
    return Check("gateway", False, found[0].detail if found else f"{service} is not there")
