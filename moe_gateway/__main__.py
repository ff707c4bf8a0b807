"""`python -m moe_gateway`: wires the gateway and runs it until SIGTERM."""

import asyncio
import gc
import sys
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from clusterkit.clock import Clock, SystemClock
from clusterkit.cluster.open_registry import open_registry
from clusterkit.config.catalogue import SERVICE_PREFIX, load_catalogue
from clusterkit.config.settings import load_settings
from clusterkit.http.guard import Way, loopback_listener_way, service_token_way
from clusterkit.http.health import Health
from clusterkit.http.process import run
from clusterkit.http.serve import serve
from clusterkit.http.tokens import service_token
from clusterkit.ports.registry import Registry
from clusterkit.proxy.exchange import Deadlines
from clusterkit.proxy.upstream import UpstreamPool
from clusterkit.telemetry.logs import configure_logging
from clusterkit.telemetry.metrics import Metrics
from moe_gateway.control_plane import gateway_health, make_control_plane
from moe_gateway.data_plane import PATHS, DataPlane
from moe_gateway.experts import ExpertView
from moe_gateway.keys import client_key_way, gateway_guard, read_keys
from moe_gateway.routing import Naming
from moe_gateway.settings import AGENT_TOKEN, EXPERT_TOKEN, SERVICE, GatewaySettings


class TwoPlanes:
    """ASGI: the proxied paths go to the data plane, all others to the control plane."""

    def __init__(self, data: ASGIApp, control: ASGIApp) -> None:
        """Join two applications."""
        self._data, self._control = data, control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        proxied = scope["type"] == "http" and scope["path"] in PATHS
        await (self._data if proxied else self._control)(scope, receive, send)


def make_view(settings: GatewaySettings, registry: Registry, clock: Clock) -> ExpertView:
    """The live view for `settings`. Raises `ConfigFileError` when the catalogue is malformed."""
    catalogued = load_catalogue(settings.models_file).experts if settings.models_file else ()
    naming = Naming(
        agent_model=settings.agent_model,
        agent_service=settings.agent_service,
        default_expert=settings.default_expert,
        expert_prefix=SERVICE_PREFIX,
    )
    return ExpertView(registry, clock, naming, catalogued)


def gateway_app(settings: GatewaySettings, view: ExpertView, pool: UpstreamPool, clock: Clock) -> ASGIApp:
    """The whole gateway as one ASGI application. Raises `ConfigFileError` for a bad keys file."""
    metrics = Metrics()
    data = DataPlane(
        table=lambda: view.table,
        pool=pool,
        tokens={
            "agent": service_token(settings, AGENT_TOKEN),
            "expert": service_token(settings, EXPERT_TOKEN),
        },
        metrics=metrics,
        clock=clock,
        max_body_bytes=settings.max_body_bytes,
    )
    control = make_control_plane(view, metrics, created=int(clock.now().timestamp()))
    return gateway_guard(TwoPlanes(data, control), ways_in(settings))


def ways_in(settings: GatewaySettings) -> Sequence[Way]:
    """How callers are recognised. Raises `ConfigFileError` for a bad keys file."""
    if settings.keys_file is None:
        return [loopback_listener_way]  # `listen` sees to it that there is no other listener then
    return [
        client_key_way(read_keys(settings.keys_file)),
        service_token_way(service_token(settings, SERVICE)),
    ]


def make_pool(settings: GatewaySettings) -> UpstreamPool:
    """The connections to agents and experts, with the deadlines of `settings`."""
    deadlines = Deadlines(
        connect=settings.connect_timeout_s,
        first_byte=settings.first_byte_timeout_s,
        idle=settings.idle_timeout_s,
    )
    return UpstreamPool(deadlines)


async def serve_gateway(settings: GatewaySettings) -> None:
    """Serve until SIGTERM. Raises `HearthError` when the gateway cannot start."""
    clock = SystemClock()
    pool = make_pool(settings)
    async with open_registry(settings, clock) as registry:
        view = make_view(settings, registry, clock)
        app = gateway_app(settings, view, pool, clock)

        async def health() -> Health:
            return gateway_health(view)

        gc.freeze()  # what exists now lives for ever; collections need not look at it again
        async with asyncio.TaskGroup() as group:
            following = group.create_task(view.run(), name="follow-registry")
            try:
                await serve(
                    app,
                    name=settings.service_name,
                    settings=settings,
                    registry=registry,
                    health=health,
                    authenticated=settings.keys_file is not None,
                    # Who asks for keys need not mind the name that it is reached by: a page of
                    # another origin cannot send one.
                    allowed_hosts=("*",) if settings.keys_file else (),
                )
            finally:
                following.cancel()
                await pool.close()


async def main() -> None:
    """Read the settings and run. Raises `HearthError` when the gateway cannot start."""
    settings = load_settings(GatewaySettings)
    configure_logging(SERVICE, settings.log_level, settings.log_format)
    await serve_gateway(settings)


if __name__ == "__main__":
    sys.exit(run(main))
