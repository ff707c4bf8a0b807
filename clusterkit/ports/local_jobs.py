"""Jobs of one machine: child processes, started again with back-off, and nothing more."""

import asyncio
import os
import shutil
import signal
from asyncio.subprocess import Process
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from clusterkit.clock import Clock
from clusterkit.ports.jobs import JobError, JobSpec, JobState, JobStatus

FIRST_BACK_OFF_SECONDS = 0.5
LONGEST_BACK_OFF_SECONDS = 30.0
STEADY_SECONDS = 60.0  #: after running so long a job's back-off starts over
STOP_SECONDS = 8.0  #: between SIGTERM and SIGKILL; longer than a service's own grace period
LOG_BYTES = 10 * 2**20  #: a job's log is moved aside (one generation kept) beyond this

log = structlog.get_logger()


def back_off(attempt: int) -> float:
    """Seconds to wait before start number `attempt` + 1 after a job ended by itself; `attempt` from 0."""
    return float(min(FIRST_BACK_OFF_SECONDS * 2.0 ** min(attempt, 16), LONGEST_BACK_OFF_SECONDS))


@dataclass
class _Job:
    spec: JobSpec
    keeper: asyncio.Task[None]
    process: Process | None = None
    restarts: int = 0
    exit_code: int | None = None
    stopped: bool = False

    def status(self) -> JobStatus:
        running = self.process is not None and self.process.returncode is None
        state = JobState.STOPPED if self.stopped else JobState.BACKING_OFF
        return JobStatus(
            name=self.spec.name,
            state=JobState.RUNNING if running else state,
            pid=self.process.pid if running and self.process else None,
            restarts=self.restarts,
            exit_code=self.exit_code,
        )


class LocalJobs:
    """`JobRunner` with child processes. Use as an async context manager: leaving it stops them all.

    Children get SIGTERM from the kernel when this process dies without a word (`kill -9`), by way of
    util-linux's `setpriv --pdeathsig`.
    """

    def __init__(self, logs_dir: Path, clock: Clock) -> None:
        """Output of job NAME is appended to `logs_dir`/NAME.log."""
        self._logs_dir, self._clock = logs_dir, clock
        self._jobs: dict[str, _Job] = {}

    async def __aenter__(self) -> Self:
        """Make the folder of the logs."""
        await asyncio.to_thread(self._logs_dir.mkdir, parents=True, exist_ok=True, mode=0o700)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop every job."""
        await self.stop_all()

    async def stop_all(self) -> None:
        """Stop every job, all at once; returns when they are gone."""
        running = [name for name, job in self._jobs.items() if not job.stopped]
        await asyncio.gather(*(self.stop(name) for name in running))

    async def start(self, spec: JobSpec) -> None:
        """See `JobRunner.start`."""
        running = self._jobs.get(spec.name)
        if running is not None and not running.stopped:
            return
        if shutil.which(spec.command[0]) is None:
            raise JobError(f"job {spec.name!r}: there is no program {spec.command[0]!r}")
        started = asyncio.get_running_loop().create_future()
        keeper = asyncio.create_task(self._keep(spec, started), name=f"job {spec.name}")
        self._jobs[spec.name] = _Job(spec, keeper)
        await asyncio.wait({keeper, started}, return_when=asyncio.FIRST_COMPLETED)
        if keeper.done():
            del self._jobs[spec.name]
            raise JobError(f"job {spec.name!r} cannot be started: {keeper.exception()}")

    async def stop(self, name: str) -> None:
        """See `JobRunner.stop`."""
        job = self._job(name)
        job.stopped = True
        job.keeper.cancel()
        with suppress(asyncio.CancelledError):
            await job.keeper
        process = job.process
        if process is not None:
            if process.returncode is None:
                await _end(process)
            job.exit_code = process.returncode
        log.info("job_stopped", job=name, exit_code=job.exit_code)

    async def list(self) -> tuple[JobStatus, ...]:
        """See `Jobs.list`."""
        return tuple(job.status() for _, job in sorted(self._jobs.items()))

    async def logs(self, name: str, *, lines: int) -> tuple[str, ...]:
        """See `Jobs.logs`."""
        self._job(name)
        return await asyncio.to_thread(last_lines, self._log_file(name), lines)

    def _job(self, name: str) -> _Job:
        if name not in self._jobs:
            raise JobError(f"there is no job {name!r} (known: {', '.join(sorted(self._jobs)) or 'none'})")
        return self._jobs[name]

    def _log_file(self, name: str) -> Path:
        return self._logs_dir / f"{name}.log"

    async def _keep(self, spec: JobSpec, started: asyncio.Future[None]) -> None:
        attempt = 0
        while True:
            since = self._clock.monotonic()
            job = self._jobs[spec.name]
            try:
                await self._run_once(job, started)
            except OSError as error:
                if not started.done():
                    raise
                # Out of memory or disk for the moment: as good a reason to try again as any.
                log.error("job_not_started", job=spec.name, problem=str(error))
            if self._clock.monotonic() - since >= STEADY_SECONDS:
                attempt = 0
            delay = back_off(attempt)
            log.warning("job_ended", job=spec.name, exit_code=job.exit_code, starts_again_in_s=delay)
            await self._clock.sleep(delay)
            attempt += 1
            job.restarts += 1

    async def _run_once(self, job: _Job, started: asyncio.Future[None]) -> None:
        process = job.process = await self._spawn(job.spec)
        log.info("job_started", job=job.spec.name, pid=process.pid)
        if not started.done():
            started.set_result(None)
        job.exit_code = await self._watch(job.spec.name, process)

    async def _watch(self, name: str, process: Process) -> int:
        ended = asyncio.create_task(process.wait())
        try:
            while not ended.done():
                await asyncio.wait({ended}, timeout=STEADY_SECONDS)
                # A full disk must not end the watch; the next look tries again.
                with suppress(OSError):
                    await asyncio.to_thread(_move_aside_when_long, self._log_file(name))
        finally:
            ended.cancel()
        # What the program itself started must not outlive it.
        _signal_group(process.pid, signal.SIGKILL)
        return ended.result()

    async def _spawn(self, spec: JobSpec) -> Process:
        output = await asyncio.to_thread(_open_log, self._log_file(spec.name))
        try:
            return await asyncio.create_subprocess_exec(
                "setpriv",
                "--pdeathsig",
                "TERM",
                "--",
                *spec.command,
                env=dict(spec.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            os.close(output)


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        log.warning("job_killed", pid=process.pid, after_s=STOP_SECONDS)
    _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, number)


def _open_log(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _move_aside_when_long(path: Path) -> None:
    # Copied and cut rather than renamed: the child keeps appending to the file it was given.
    if path.exists() and path.stat().st_size > LOG_BYTES:
        shutil.copy(path, path.with_suffix(".log.1"))
        os.truncate(path, 0)


def last_lines(path: Path, lines: int) -> tuple[str, ...]:
    """The last `lines` lines of a text file, read from its end; () when there is no file."""
    if not path.exists() or lines <= 0:
        return ()
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        position, data = file.tell(), b""
        while position > 0 and data.count(b"\n") <= lines:
            step = min(position, 64 * 1024)
            position -= step
            file.seek(position)
            data = file.read(step) + data
    return tuple(data.decode("utf-8", "replace").splitlines()[-lines:])
