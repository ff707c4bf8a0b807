"""The jobs of a cluster: Nomad."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from clusterkit.clock import Clock
from clusterkit.cluster.agent_http import AgentError, NotFoundError, Wait
from clusterkit.cluster.nomad import Nomad
from clusterkit.cluster.nomad_records import Allocation, JobSummary
from clusterkit.ports.jobs import JobError, JobSpec, JobState, JobStatus

START_SECONDS = 60.0  #: what Nomad gets to place a job and start its program
STOP_SECONDS = 60.0  #: what it gets to end one; more than the time that programs get to end by themselves
KILL_SECONDS = 10  #: between SIGTERM and SIGKILL
BYTES_A_LINE = 400  #: guess at a line's length, so that enough of a log is fetched

_MENDED_HERE = "delay"  # restart mode: go on trying on this host for ever


class NomadJobs:
    """`Jobs` on Nomad, for whoever holds a token that may submit jobs.

    Lists and reads the logs of every job; those it starts itself run as plain processes (`raw_exec`).
    """

    def __init__(self, nomad: Nomad, clock: Clock, *, user: str = "") -> None:
        """`nomad` is open; started programs run as `user`, by default as Nomad's own."""
        self._nomad, self._clock, self._user = nomad, clock, user

    async def start(self, spec: JobSpec) -> None:
        """See `Jobs.start`."""
        job = await self._summary(spec.name)
        if job is not None and not job.stopped:
            return
        try:
            registered = await self._nomad.register_job(_raw_exec(spec, self._user))
            newest = await self._wait_until_started(spec.name, registered)
        except AgentError as error:
            raise JobError(f"job {spec.name!r} cannot be started: {error}") from error
        if newest is not None and newest.client_status == "running":
            return
        problem = "Nomad found no host for it" if newest is None else _last_words(newest)
        await self._nomad.stop_job(spec.name, purge=True)
        if "could not be found" in problem:
            problem = f"there is no program {spec.command[0]!r}"
        raise JobError(f"job {spec.name!r}: {problem}")

    async def stop(self, name: str) -> None:
        """See `Jobs.stop`."""
        await self._require(name)
        await self._nomad.stop_job(name)
        index, until = 0, self._clock.monotonic() + STOP_SECONDS
        while True:
            reading = await self._nomad.allocations(name, wait=self._wait(index, until))
            if all(allocation.ended for allocation in reading.value):
                return
            if self._clock.monotonic() >= until:
                raise JobError(f"job {name!r} has not ended after {STOP_SECONDS:g} s")
            index = reading.index

    async def list(self) -> tuple[JobStatus, ...]:
        """See `Jobs.list`; jobs that other jobs made are not told of."""
        jobs = (await self._nomad.jobs()).value
        return tuple(await asyncio.gather(*(self._status(job) for job in jobs if not job.parent)))

    async def logs(self, name: str, *, lines: int) -> tuple[str, ...]:
        """See `Jobs.logs`: what the newest instance wrote, its errors after all else."""
        await self._require(name)
        reading = await self._nomad.allocations(name)
        if not reading.value or lines <= 0:
            return ()
        newest = _running_first(reading.value)[0]
        written: list[str] = []
        for task in newest.tasks:
            for kind in ("stdout", "stderr"):
                data = await self._nomad.logs(newest.id, task, kind, last_bytes=lines * BYTES_A_LINE)
                written += data.decode("utf-8", "replace").splitlines()
        return tuple(written[-lines:])

    async def follow(self, name: str) -> AsyncIterator[str]:
        """What the newest instance of a job writes to stderr from now on. Raises `JobError`."""
        await self._require(name)
        reading = await self._nomad.allocations(name)
        if not reading.value:
            return
        newest = _running_first(reading.value)[0]
        for task in list(newest.tasks)[:1]:
            async with self._nomad.follow_log(newest.id, task) as lines:
                async for line in lines:
                    yield line.decode("utf-8", "replace")

    async def _require(self, name: str) -> None:
        if await self._summary(name) is None:
            names = ", ".join(job.id for job in (await self._nomad.jobs()).value) or "none"
            raise JobError(f"there is no job {name!r} (known: {names})")

    async def _summary(self, name: str) -> JobSummary | None:
        try:
            job = await self._nomad.job(name)
        except NotFoundError:
            return None
        return JobSummary(id=name, type=job["Type"], status=job["Status"], stopped=job["Stop"])

    async def _wait_until_started(self, name: str, registered: int) -> Allocation | None:
        """The newest allocation since index `registered` once it runs or has failed, else None."""
        index, until = 0, self._clock.monotonic() + START_SECONDS
        while True:
            reading = await self._nomad.allocations(name, wait=self._wait(index, until))
            newest = next((one for one in reversed(reading.value) if one.create_index > registered), None)
            if newest is not None and (newest.client_status == "running" or newest.ended):
                return newest
            if self._clock.monotonic() >= until:
                return newest
            index = reading.index

    def _wait(self, index: int, until: float) -> Wait | None:
        left = until - self._clock.monotonic()
        return Wait(index=index, seconds=left) if index and left > 0 else None

    async def _status(self, job: JobSummary) -> JobStatus:
        allocations = (await self._nomad.allocations(job.id)).value
        current = [one for one in allocations if not one.ended] or list(allocations[-1:])
        running = any(one.client_status == "running" for one in current)
        codes = [task.exit_code for one in reversed(current) for task in one.tasks.values()]
        over = job.stopped or (job.type == "batch" and job.status == "dead")
        waiting = JobState.STOPPED if over else JobState.BACKING_OFF
        return JobStatus(
            name=job.id,
            state=JobState.RUNNING if running and not over else waiting,
            restarts=sum(task.restarts for one in current for task in one.tasks.values()),
            exit_code=next((code for code in codes if code is not None), None),
        )


def _running_first(allocations: Sequence[Allocation]) -> list[Allocation]:
    return sorted(allocations, key=lambda one: (one.client_status != "running", -one.create_index))


def _last_words(allocation: Allocation) -> str:
    failures = [
        event.message
        for task in allocation.tasks.values()
        for event in task.events
        if event.type in ("Driver Failure", "Setup Failure", "Terminated")
    ]
    return failures[-1] if failures else f"its allocation is {allocation.client_status}"


def _raw_exec(spec: JobSpec, user: str) -> dict[str, Any]:
    program, *arguments = spec.command
    task = {
        "Name": spec.name,
        "Driver": "raw_exec",
        "User": user,
        "Config": {"command": program, "args": arguments},
        "Env": dict(spec.environment),
        "KillTimeout": KILL_SECONDS * 10**9,
    }
    group = {
        "Name": spec.name,
        "Count": 1,
        "RestartPolicy": {
            "Attempts": 1,
            "Interval": 30 * 10**9,
            "Delay": 10**9,
            "Mode": _MENDED_HERE,
        },
        "Tasks": [task],
    }
    return {
        "ID": spec.name,
        "Name": spec.name,
        "Type": "service",
        "Datacenters": ["*"],
        "TaskGroups": [group],
    }
