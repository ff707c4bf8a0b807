"""The process behind `hearth up`: keeps the services running and takes commands on a Unix socket."""

import asyncio
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import structlog
from fastapi import FastAPI

from clusterkit.clock import SystemClock
from clusterkit.config.catalogue import SERVICE_PREFIX
from clusterkit.config.environment import environment
from clusterkit.config.settings import load_settings
from clusterkit.errors import HearthError
from clusterkit.http.control_app import control_app
from clusterkit.http.health import Health
from clusterkit.http.listener import HttpServer
from clusterkit.http.openai_wire import ApiError
from clusterkit.http.process import run
from clusterkit.http.tokens import ensure_token
from clusterkit.ports.jobs import JobRunner
from clusterkit.ports.local_jobs import LocalJobs
from clusterkit.ports.registry import Instance, Registry
from clusterkit.telemetry.logs import configure_logging
from clusterkit.telemetry.metrics import Metrics
from hearth.one_machine.layout import Layout, find_layout
from hearth.one_machine.lock import sole_holder
from hearth.one_machine.services import job_specs
from hearth.one_machine.state import GrowthState
from hearth.settings import HearthSettings
from moe_gateway.settings import SERVICE as GATEWAY
from moe_gateway.settings import GatewaySettings

SOCKET_PATH_BYTES = 107  #: longest path of a Unix socket on Linux, see unix(7)

log = structlog.get_logger()


def control(
    jobs: JobRunner,
    registry: Registry,
    layout: Layout,
    stop: asyncio.Event,
    growth: Callable[[], GrowthState],
) -> FastAPI:
    """The application on the control socket. Raises `SettingsError`."""
    gateway_name = load_settings(GatewaySettings).service_name

    async def health() -> Health:
        return Health(())

    app = control_app("hearth", health=health, metrics=Metrics())

    @app.get("/state")
    async def get_state() -> dict[str, Any]:
        """Every service's process, and what each deployable has announced."""
        statuses, instances = await asyncio.gather(jobs.list(), registry.instances())
        return {
            "jobs": [asdict(status) for status in statuses],
            "instances": _by_deployable(instances, gateway_name),
            "growth": asdict(growth()),
        }

    @app.get("/front_door")
    async def get_front_door() -> dict[str, str]:
        """Where the gateway listens, and the token that it asks for."""
        announced = await registry.instances(gateway_name)
        if not announced:
            message = f"{GATEWAY} has not started yet; see `hearth status` and `hearth logs {GATEWAY}`"
            raise ApiError(message, status=503, type="server_error")
        key = await asyncio.to_thread(ensure_token, layout.home / "secrets", GATEWAY)
        return {"url": announced[0].url, "key": key}

    @app.post("/shutdown", status_code=202)
    async def shutdown() -> dict[str, str]:
        """Begin to stop everything."""
        stop.set()
        return {"status": "stopping"}

    return app


def _by_deployable(instances: Iterable[Instance], gateway_name: str) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for instance in instances:
        deployable = GATEWAY if instance.service == gateway_name else instance.service
        if instance.service.startswith(SERVICE_PREFIX):
            deployable = "llama_expert"
        grouped.setdefault(deployable, []).append(asdict(instance))
    return grouped


def open_control_socket(layout: Layout) -> socket.socket:
    """Listen where the commands come in. Raises `HearthError` when the socket's path is too long."""
    path = str(layout.control_socket)
    if len(path.encode()) > SOCKET_PATH_BYTES:
        raise HearthError(
            f"{path}: longer than the {SOCKET_PATH_BYTES} bytes a socket's path may have; "
            "set HEARTH_HOME to a shorter folder"
        )
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    opened.bind(path)
    layout.control_socket.chmod(0o600)
    opened.listen(16)
    return opened


def _fresh_run_dir(layout: Layout) -> None:
    shutil.rmtree(layout.run_dir, ignore_errors=True)
    layout.run_dir.mkdir(parents=True, mode=0o700)
    layout.home.chmod(0o700)


@asynccontextmanager
async def _registry(layout: Layout) -> AsyncIterator[Registry]:
    # The database library takes a while to load; by now the services are loading as well.
    from clusterkit.ports.local_registry import LocalRegistry

    async with LocalRegistry(layout.registry_file, SystemClock()) as registry:
        yield registry


@asynccontextmanager
async def serve_control(
    jobs: JobRunner,
    registry: Registry,
    layout: Layout,
    opened: socket.socket,
    stop: asyncio.Event,
    growth: Callable[[], GrowthState] = GrowthState,
) -> AsyncIterator[None]:
    """Take commands on the open socket `opened` for as long as the block runs. Raises `SettingsError`."""
    server = HttpServer(control(jobs, registry, layout, stop, growth), grace_seconds=1)
    serving = asyncio.create_task(server.serve(sockets=[opened]))
    try:
        yield
    finally:
        server.stop()
        await serving


@asynccontextmanager
async def _growing(layout: Layout, registry: Registry) -> AsyncIterator[Callable[[], GrowthState]]:
    """Fetch a better model meanwhile, unless a person wants none; gives how far that is."""
    if not load_settings(HearthSettings).grow:
        yield lambda: GrowthState("off")
        return
    # As with the registry: what this loads, nobody waits for.
    from hearth.one_machine.growth import Growth

    growth = Growth(layout, registry, SystemClock(), lambda: shutil.disk_usage(layout.home).free)
    task = asyncio.create_task(growth.run(), name="grow")
    try:
        yield lambda: growth.state
    finally:
        task.cancel()
        await asyncio.wait({task})


async def launch(layout: Layout, stop: asyncio.Event) -> None:
    """Run the services until `stop` is set. Raises `AlreadyRunningError`, `JobError`."""
    with sole_holder(layout.lock_file):
        _fresh_run_dir(layout)
        opened = open_control_socket(layout)
        async with LocalJobs(layout.logs_dir, SystemClock()) as jobs:
            for spec in job_specs(layout, environment()):
                await jobs.start(spec)
            async with (
                _registry(layout) as registry,
                _growing(layout, registry) as growth,
                serve_control(jobs, registry, layout, opened, stop, growth),
            ):
                await stop.wait()
                log.info("stopping")
                await jobs.stop_all()  # while somebody still answers those who ask
        layout.control_socket.unlink(missing_ok=True)


async def main() -> None:
    """Entry point of the detached launcher: until SIGTERM, SIGINT or a command on the socket."""
    configure_logging("hearth", "info", "json")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await launch(find_layout(load_settings(HearthSettings).home), stop)


if __name__ == "__main__":
    sys.exit(run(main))
