"""Runs a service: its listener, its guards, its signals and its place in the registry."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from starlette.types import ASGIApp

from clusterkit.config.settings import ServiceSettings, address_and_port
from clusterkit.http.announce import keep_announced
from clusterkit.http.health import Health, HealthProbe
from clusterkit.http.last_resort import LastResort
from clusterkit.http.listener import HttpServer, listen
from clusterkit.http.origin_guard import OriginGuard
from clusterkit.ports.registry import Instance, Registry
from clusterkit.telemetry.tracing import TraceMiddleware

InstanceList = Callable[[str, int], Sequence[Instance]]  #: (address, port) → what to announce now

log = structlog.get_logger()


async def serve(
    app: ASGIApp,
    *,
    name: str,
    settings: ServiceSettings,
    registry: Registry,
    health: HealthProbe,
    instances: InstanceList | None = None,
    authenticated: bool = False,
    allowed_hosts: Sequence[str] = (),
    at_shutdown: Callable[[], None] | None = None,
) -> None:
    """Run `app` until SIGTERM or SIGINT, announced in the registry.

    `instances` lists what to announce and how healthy each is, asked at every heartbeat; by default
    the service announces itself with the health of `health`. `authenticated` says that every caller
    has to present credentials, which a listener beyond loopback needs. `at_shutdown` ends streams
    that would go on for ever. Raises `BindError`.
    """
    prefix = str(type(settings).model_config.get("env_prefix", ""))
    opened = await asyncio.to_thread(listen, settings, prefix, authenticated=authenticated)
    address, port = opened.getsockname()[:2]
    if settings.advertised is not None:
        address, port = address_and_port(settings.advertised)
    guarded = OriginGuard(app, allowed_hosts=(settings.host, address, *allowed_hosts))
    served = TraceMiddleware(LastResort(guarded))
    server = HttpServer(served, grace_seconds=settings.stop_timeout_s, at_shutdown=at_shutdown)
    own_id = f"{name}-{settings.instance_id}"

    def present(state: Health) -> Sequence[Instance]:
        if instances is not None:
            return instances(address, port)
        return [
            Instance(
                service=name, id=own_id, address=address, port=port, healthy=state.ok, detail=state.detail
            )
        ]

    log.info("listening", address=address, port=port)
    beating = asyncio.create_task(keep_announced(registry, health, present), name="heartbeat")
    # A service that nobody can find any more ends, so that it is started anew. And one that is told to
    # end is first taken off the list, then finishes what it has begun.
    beating.add_done_callback(lambda _: server.stop())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, beating.cancel)
    try:
        await server.serve(sockets=[opened])
    finally:
        beating.cancel()
        opened.close()
        with suppress(asyncio.CancelledError):
            await beating
