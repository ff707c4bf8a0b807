"""The client of a running `hearth up`: its control socket.

The launcher behind the socket knows the registry and the settings, so nothing here has to load them.
"""

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any

import orjson

from clusterkit.clock import Clock, SystemClock
from clusterkit.errors import HearthError
from clusterkit.ports.jobs import JobState, JobStatus
from clusterkit.ports.registry import Instance
from clusterkit.proxy.exchange import Deadlines, UpstreamBroken, UpstreamError, UpstreamRequest
from clusterkit.proxy.upstream import UpstreamPool
from hearth.asking import problem_of
from hearth.one_machine.layout import Layout
from hearth.one_machine.lock import holder
from hearth.one_machine.state import GrowthState, MachineState
from hearth.place import FrontDoor, NotRunningError

ANSWER_SECONDS = 30.0  #: what the launcher gets to do what it is told
STOP_SECONDS = 20.0  #: what everything together gets to stop before it is killed
_POLL_SECONDS = 0.1


class Control:
    """Asks and commands a running Hearth."""

    def __init__(self, layout: Layout, clock: Clock | None = None) -> None:
        """Nothing is contacted yet."""
        self._layout, self._clock = layout, clock or SystemClock()

    async def state(self) -> MachineState:
        """Processes and services together. Raises `NotRunningError`."""
        answer = await self._call("GET", "/state")
        jobs = (JobStatus(**{**row, "state": JobState(row["state"])}) for row in answer["jobs"])
        instances = {
            service: tuple(Instance(**row) for row in rows) for service, rows in answer["instances"].items()
        }
        return MachineState(jobs=tuple(jobs), instances=instances, growth=GrowthState(**answer["growth"]))

    async def front_door(self) -> FrontDoor:
        """The gateway and its key. Raises `NotRunningError`, `HearthError` while it is not there."""
        return FrontDoor(**await self._call("GET", "/front_door"))

    async def stop(self) -> bool:
        """Stop everything; False when nothing ran. Returns when no process is left."""
        pid = holder(self._layout.lock_file)
        if pid is None:
            return False
        with suppress(HearthError):
            await self._call("POST", "/shutdown")
        if await self._gone(STOP_SECONDS):
            return True
        for number in (signal.SIGTERM, signal.SIGKILL):
            # The kernel tells the services when this process dies, so they end with it.
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            if await self._gone(STOP_SECONDS / 2):
                return True
        raise HearthError(f"process {pid} does not end; look at it with: ps -fp {pid}")

    async def _call(self, method: str, path: str) -> Any:
        if holder(self._layout.lock_file) is None:
            raise NotRunningError
        deadlines = Deadlines(connect=ANSWER_SECONDS, first_byte=ANSWER_SECONDS, idle=ANSWER_SECONDS)
        pool = UpstreamPool(deadlines, socket=self._layout.control_socket)
        request = UpstreamRequest(host="localhost", port=0, method=method, target=path.encode())
        try:
            response = await pool.request(request)
            body = await response.read_all()
        except UpstreamError as error:
            # Between taking the lock and listening, and after the last answer, there is nobody to ask.
            if error.nothing_sent or isinstance(error, UpstreamBroken):
                raise NotRunningError from error
            raise
        finally:
            await pool.close()
        if response.status >= 400:
            raise HearthError(problem_of(body) or f"{path}: the launcher answered {response.status}")
        return orjson.loads(body)

    async def _gone(self, seconds: float) -> bool:
        until = self._clock.monotonic() + seconds
        while holder(self._layout.lock_file) is not None:
            if self._clock.monotonic() > until:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True
