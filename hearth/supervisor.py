"""The process behind `hearth up`: keeps the services running and takes commands on a Unix socket."""

import asyncio
import shutil
import signal
import socket
import sys
from dataclasses import asdict
from typing import Any

import structlog
from fastapi import FastAPI

from clusterkit.clock import SystemClock
from clusterkit.config.settings import environment, load_settings
from clusterkit.errors import HearthError
from clusterkit.http.control_app import control_app
from clusterkit.http.health import Health
from clusterkit.http.listener import HttpServer
from clusterkit.http.openai_wire import ApiError
from clusterkit.http.process import run
from clusterkit.ports.jobs import Jobs
from clusterkit.ports.local_jobs import LocalJobs
from clusterkit.telemetry.logs import configure_logging
from clusterkit.telemetry.metrics import Metrics
from hearth.house import House, find_house, job_specs
from hearth.lock import sole_holder
from hearth.settings import HearthSettings

SOCKET_PATH_BYTES = 107  #: longest path of a Unix socket on Linux, see unix(7)

log = structlog.get_logger()


def control(jobs: Jobs, house: House, stop: asyncio.Event) -> FastAPI:
    """The application on the control socket."""

    async def health() -> Health:
        return Health(())

    app = control_app("hearth", health=health, metrics=Metrics())

    @app.get("/jobs")
    async def list_jobs() -> list[dict[str, Any]]:
        """Every service and how its process is."""
        return [asdict(status) for status in await jobs.list()]

    @app.post("/jobs/{name}/restart")
    async def restart(name: str) -> dict[str, str]:
        """Stop a service and start it with the settings of now."""
        specs = {spec.name: spec for spec in job_specs(house, environment())}
        if name not in specs:
            raise ApiError(f"there is no service {name!r} (known: {', '.join(specs)})", status=404)
        await jobs.stop(name)
        await jobs.start(specs[name])
        return {"restarted": name}

    @app.post("/shutdown", status_code=202)
    async def shutdown() -> dict[str, str]:
        """Begin to stop everything."""
        stop.set()
        return {"status": "stopping"}

    return app


def _open_socket(house: House) -> socket.socket:
    path = str(house.control_socket)
    if len(path.encode()) > SOCKET_PATH_BYTES:
        raise HearthError(
            f"{path}: longer than the {SOCKET_PATH_BYTES} bytes a socket's path may have; "
            "set HEARTH_HOME to a shorter folder"
        )
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    opened.bind(path)
    house.control_socket.chmod(0o600)
    opened.listen(16)
    return opened


def _fresh_run_dir(house: House) -> None:
    shutil.rmtree(house.run_dir, ignore_errors=True)
    house.run_dir.mkdir(parents=True, mode=0o700)
    house.home.chmod(0o700)


async def supervise(house: House, stop: asyncio.Event) -> None:
    """Run the house until `stop` is set. Raises `AlreadyRunningError`, `JobError`."""
    with sole_holder(house.lock_file):
        _fresh_run_dir(house)
        opened = _open_socket(house)
        async with LocalJobs(house.logs_dir, SystemClock()) as jobs:
            server = HttpServer(control(jobs, house, stop), grace_seconds=1)
            serving = asyncio.create_task(server.serve(sockets=[opened]))
            try:
                for spec in job_specs(house, environment()):
                    await jobs.start(spec)
                await stop.wait()
            finally:
                log.info("stopping")
        server.stop()
        await serving
        house.control_socket.unlink(missing_ok=True)


async def main() -> None:
    """Entry point of the detached supervisor: until SIGTERM, SIGINT or a command on the socket."""
    configure_logging("hearth", "info", "json")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await supervise(find_house(load_settings(HearthSettings).home), stop)


if __name__ == "__main__":
    sys.exit(run(main))
