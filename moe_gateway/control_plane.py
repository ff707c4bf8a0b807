"""Everything that is not proxied: the model list, health and metrics, answered from the routing table.

No request here ever touches an upstream, so that clients may poll as often as they like.
"""

from typing import Any

from fastapi import FastAPI

from clusterkit.http.control_app import control_app
from clusterkit.http.health import Check, Health
from clusterkit.telemetry.metrics import Metrics
from moe_gateway.experts import ExpertView
from moe_gateway.routing import RoutingTable, not_found
from moe_gateway.settings import SERVICE


def make_control_plane(view: ExpertView, metrics: Metrics, *, created: int) -> FastAPI:
    """The FastAPI application; `created` (seconds since 1970) dates every model entry."""

    async def health() -> Health:
        return gateway_health(view)

    app = control_app(SERVICE, health=health, metrics=metrics)

    @app.get("/v1/models", tags=["models"])
    @app.get("/models", tags=["models"], include_in_schema=False)
    async def list_models() -> dict[str, Any]:
        """Every model that can be asked for, and whether it would answer now."""
        table = view.table
        return {"object": "list", "data": [model_entry(table, name, created) for name in table.names]}

    @app.get("/v1/models/{model:path}", tags=["models"])
    @app.get("/models/{model:path}", tags=["models"], include_in_schema=False)
    async def get_model(model: str) -> dict[str, Any]:
        """One model."""
        table = view.table
        if table.find(model) is None:
            raise not_found(table, model)
        return model_entry(table, model, created)

    return app


def model_entry(table: RoutingTable, name: str, created: int) -> dict[str, Any]:
    """A model as OpenAI's clients expect it, plus `status`, what serves it and why it may be down or wait."""
    target = table.find(name)
    assert target is not None
    entry = {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "hearth",
        "status": "ready" if target.ready else "down",
        "service": target.service,
    }
    if target.loading:
        entry |= {"status": "loading", "detail": target.detail}
    elif not target.ready:
        entry["detail"] = target.detail
    elif target.backends[0].model:
        entry["serving"] = target.backends[0].model
    return entry


def gateway_health(view: ExpertView) -> Health:
    """Healthy while the registry can be read and at least one expert is up; says which are not."""
    experts = view.table.experts
    ready = [target.name for target in experts if target.ready]
    down = {target.name: target.detail for target in experts if not target.ready}
    detail = "" if ready else "no expert is ready" + "".join(f"; {n}: {why}" for n, why in down.items())
    checks = (
        Check("registry", not view.problem, view.problem),
        Check("experts", bool(ready), detail),
    )
    return Health(checks, {"ready": ready, "down": down})
