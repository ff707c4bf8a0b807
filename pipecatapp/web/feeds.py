"""What the agent did and what it can do, for programs."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from clusterkit.telemetry.actions import EventQuery
from clusterkit.telemetry.event_log import EventLog
from pipecatapp.nodes.registry import NodeRegistry


def feed_routes(events: EventLog, nodes: NodeRegistry) -> APIRouter:
    """`GET /api/events` and `GET /api/node-types`."""
    router = APIRouter(prefix="/api", tags=["feeds"])

    @router.get("/events")
    async def get_events(query: Annotated[EventQuery, Query()]) -> dict[str, Any]:
        """Actions and their outcomes, oldest first; ask again with `after` = `next` for what follows."""
        rows = await events.query(query)
        return {
            "events": [event.model_dump(mode="json") for event in rows],
            "next": rows[-1].seq if rows else query.after,
        }

    @router.get("/node-types")
    async def get_node_types() -> dict[str, Any]:
        """Every node type a workflow may use, and plug-ins that could not be loaded."""
        return {
            "node_types": [asdict(info) for info in nodes.node_types()],
            "broken_plugins": [asdict(plugin) for plugin in nodes.broken],
        }

    return router
