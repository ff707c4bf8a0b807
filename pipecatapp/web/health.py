"""Whether the agent can do its job."""

import asyncio

from clusterkit.errors import HearthError
from clusterkit.http.health import Check, Health, HealthProbe
from clusterkit.ports.registry import Instance, Registry
from clusterkit.telemetry.event_log import EventLog
from pipecatapp.nodes.registry import NodeRegistry
from pipecatapp.runs.library import WorkflowLibrary
from pipecatapp.sentences.load import Sentences
from pipecatapp.settings import PipecatappSettings
from pipecatapp.turns.main_model import main_model


def agent_health(
    settings: PipecatappSettings,
    registry: Registry,
    *,
    library: WorkflowLibrary,
    nodes: NodeRegistry,
    sentences: Sentences,
    events: EventLog,
) -> HealthProbe:
    """The agent needs its workflow, the gateway with an expert behind it, and its event log."""

    async def health() -> Health:
        await events.try_again()
        instances = await _instances(registry)
        main = main_model(instances or (), settings.main_expert_service)
        return Health(
            (
                await _workflow(library, settings.workflow),
                _gateway(instances, settings.gateway_service),
                Check("event_log", events.write_failure is None, events.write_failure or ""),
            ),
            info={
                "environment": settings.environment,
                "model": main.name,
                "built_in_model": main.built_in,
                "broken_plugins": [plugin.file for plugin in nodes.broken],
                "broken_sentences": [error.file for error in sentences.broken],
            },
        )

    return health


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
    gateways = [one for one in instances if one.service == service]
    if any(one.healthy for one in gateways):
        return Check("gateway", True)
    return Check("gateway", False, gateways[0].detail if gateways else f"{service} is not there")
