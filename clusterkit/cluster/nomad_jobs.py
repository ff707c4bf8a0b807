"""The jobs of a cluster: Nomad."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from clusterkit.cluster.agent_http import NotFoundError
from clusterkit.cluster.nomad import Nomad
from clusterkit.cluster.nomad_records import Allocation, JobSummary
from clusterkit.ports.jobs import JobError, JobState, JobStatus

BYTES_A_LINE = 400  #: guess at a line's length, so that enough of a log is fetched


class NomadJobs:
    """`Jobs` on Nomad, for whoever holds a token that may read jobs and logs."""

    def __init__(self, nomad: Nomad) -> None:
        """`nomad` is open."""
        self._nomad = nomad

    async def list(self) -> tuple[JobStatus, ...]:
        """See `Jobs.list`; jobs that other jobs made are not told of."""
        jobs = (await self._nomad.jobs()).value
        return tuple(await asyncio.gather(*(self._status(job) for job in jobs if not job.parent)))

    async def logs(self, name: str, *, lines: int) -> tuple[str, ...]:
        """See `Jobs.logs`: what the newest instance wrote, its errors after all else."""
        await self._refuse_unknown(name)
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
        await self._refuse_unknown(name)
        reading = await self._nomad.allocations(name)
        if not reading.value:
            return
        newest = _running_first(reading.value)[0]
        for task in list(newest.tasks)[:1]:
            async with self._nomad.follow_log(newest.id, task) as lines:
                async for line in lines:
                    yield line.decode("utf-8", "replace")

    async def _refuse_unknown(self, name: str) -> None:
        try:
            await self._nomad.job(name)
        except NotFoundError as error:
            names = ", ".join(job.id for job in (await self._nomad.jobs()).value) or "none"
            raise JobError(f"there is no job {name!r} (known: {names})") from error

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
