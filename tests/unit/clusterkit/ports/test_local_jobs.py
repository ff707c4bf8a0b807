"""Child processes are kept running, end with everything they started, and never outlive their keeper."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from clusterkit.ports.jobs import JobError, JobSpec, JobState, JobStatus
from clusterkit.ports.local_jobs import LOG_BYTES, STEADY_SECONDS, LocalJobs, back_off, last_lines
from clusterkit.testing import FakeClock
from tests.unit.clusterkit.waiting import until, until_async

WAIT = "print('ready', flush=True); import signal; signal.pause()"
#: Says the id of a process that it started itself; that one does not care about SIGTERM.
PARENT = """
import subprocess, sys, signal
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN);"
    "print('deaf', flush=True); signal.pause()"], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print("child", child.pid, flush=True)
signal.pause()
"""


def spec(program: str, name: str = "job", **environment: str) -> JobSpec:
    return JobSpec(name=name, command=(sys.executable, "-c", program), environment=environment)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def only(jobs: LocalJobs) -> JobStatus:
    (status,) = await jobs.list()
    return status


async def line(jobs: LocalJobs, start: str, name: str = "job") -> str:
    async with asyncio.timeout(30):
        while True:
            for written in await jobs.logs(name, lines=100):
                if written.startswith(start):
                    return written


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def jobs(tmp_path: Path, clock: FakeClock) -> AsyncIterator[LocalJobs]:
    async with LocalJobs(tmp_path / "logs", clock) as opened:
        yield opened


async def kill(jobs: LocalJobs, clock: FakeClock) -> None:
    pid = (await only(jobs)).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: clock.sleepers == 1)


async def running_again(jobs: LocalJobs) -> JobStatus:
    async def runs() -> bool:
        return (await only(jobs)).state is JobState.RUNNING

    await until_async(runs)
    return await only(jobs)


async def test_a_killed_job_is_started_again_later_each_time(jobs: LocalJobs, clock: FakeClock) -> None:
    await jobs.start(spec(WAIT))
    pids = {(await only(jobs)).pid}
    for attempt, delay in enumerate([0.5, 1, 2, 4]):
        await kill(jobs, clock)
        status = await only(jobs)
        assert (status.state, status.pid, status.exit_code) == (JobState.BACKING_OFF, None, -signal.SIGKILL)
        await clock.advance(delay - 0.01)
        assert (await only(jobs)).state is JobState.BACKING_OFF
        await clock.advance(0.01)
        status = await running_again(jobs)
        assert status.restarts == attempt + 1
        pids.add(status.pid)
    assert len(pids) == 5


async def test_a_job_that_ran_steadily_is_started_again_at_once(jobs: LocalJobs, clock: FakeClock) -> None:
    await jobs.start(spec(WAIT))
    for _ in range(3):
        await kill(jobs, clock)
        await clock.advance(10)
        await running_again(jobs)
    await clock.advance(STEADY_SECONDS)
    await kill(jobs, clock)
    await clock.advance(0.5)
    assert (await running_again(jobs)).restarts == 4


def test_the_wait_before_a_start_doubles_up_to_half_a_minute() -> None:
    assert [back_off(n) for n in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert back_off(10**9) == 30


async def test_a_job_that_backs_off_can_be_stopped(jobs: LocalJobs, clock: FakeClock) -> None:
    await jobs.start(spec("raise SystemExit(3)"))
    await until(lambda: clock.sleepers == 1)
    assert ((await only(jobs)).state, (await only(jobs)).exit_code) == (JobState.BACKING_OFF, 3)
    await jobs.stop("job")
    await clock.advance(60)
    assert (await only(jobs)).state is JobState.STOPPED


async def test_a_job_that_could_not_be_started_again_for_a_while_is(
    jobs: LocalJobs, clock: FakeClock, tmp_path: Path
) -> None:
    await jobs.start(spec(WAIT))
    shutil.rmtree(tmp_path / "logs")
    await kill(jobs, clock)
    await clock.advance(0.5)
    await until(lambda: clock.sleepers == 1)
    assert (await only(jobs)).state is JobState.BACKING_OFF
    (tmp_path / "logs").mkdir()
    await clock.advance(30)
    await running_again(jobs)


async def test_a_job_that_cannot_be_started_at_all_is_not_kept(tmp_path: Path, clock: FakeClock) -> None:
    jobs = LocalJobs(tmp_path / "never-made", clock)
    with pytest.raises(JobError, match=r"'job' cannot be started: .*never-made"):
        await jobs.start(spec(WAIT))
    assert await jobs.list() == ()


async def test_stopping_ends_everything_the_job_started(jobs: LocalJobs) -> None:
    await jobs.start(spec(PARENT))
    grandchild = int((await line(jobs, "child")).split()[1])
    assert alive(grandchild)
    await jobs.stop("job")
    await until(lambda: not alive(grandchild))
    assert (await only(jobs)).exit_code == -signal.SIGTERM


async def test_what_a_killed_job_started_does_not_outlive_it(jobs: LocalJobs, clock: FakeClock) -> None:
    await jobs.start(spec(PARENT))
    grandchild = int((await line(jobs, "child")).split()[1])
    await kill(jobs, clock)
    await until(lambda: not alive(grandchild))


async def test_leaving_stops_every_job(tmp_path: Path, clock: FakeClock) -> None:
    async with LocalJobs(tmp_path / "logs", clock) as jobs:
        for name in ("a", "b", "c"):
            await jobs.start(spec(WAIT, name))
        pids = [status.pid or 0 for status in await jobs.list()]
        assert all(map(alive, pids))
    assert not any(map(alive, pids))


async def test_a_job_gets_its_own_environment_and_nothing_else(
    jobs: LocalJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INHERITED", "yes")
    await jobs.start(spec("import os; print('sees', dict(os.environ)); " + WAIT, GIVEN="1 $HOME"))
    seen = await line(jobs, "sees")
    assert "'GIVEN': '1 $HOME'" in seen
    assert "INHERITED" not in seen


async def test_arguments_are_never_read_by_a_shell(jobs: LocalJobs, tmp_path: Path) -> None:
    hostile = f"; touch {tmp_path}/touched; $(touch {tmp_path}/touched)"
    program = "import sys; print('got', sys.argv[1:], flush=True); import signal; signal.pause()"
    await jobs.start(JobSpec(name="job", command=(sys.executable, "-c", program, hostile)))
    assert await line(jobs, "got") == f"got {[hostile]}"
    assert not (tmp_path / "touched").exists()


KEEPER = """
import asyncio, sys
from pathlib import Path
from clusterkit.clock import SystemClock
from clusterkit.ports.jobs import JobSpec
from clusterkit.ports.local_jobs import LocalJobs

async def main():
    async with LocalJobs(Path(sys.argv[1]), SystemClock()) as jobs:
        await jobs.start(JobSpec(name="job", command=(sys.executable, "-c", "import signal; signal.pause()")))
        (status,) = await jobs.list()
        print('pid', status.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_jobs_end_when_their_keeper_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KEEPER, str(tmp_path)]
    keeper = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - it outlives no test
    assert keeper.stdout is not None
    pid = int(next(line for line in keeper.stdout if line.startswith("pid ")).split()[1])
    # The kernel's message is arranged by `setpriv`, which becomes the program once that is done.
    await until(lambda: psutil.Process(pid).name() != "setpriv")
    os.kill(keeper.pid, signal.SIGKILL)
    keeper.communicate(timeout=30)
    await until(lambda: not alive(pid))


async def test_the_last_lines_of_a_job_can_be_read(jobs: LocalJobs, clock: FakeClock) -> None:
    await jobs.start(
        spec("import sys; print('out'); print('err ü', file=sys.stderr)", PYTHONIOENCODING="utf-8")
    )
    await until(lambda: clock.sleepers == 1)
    assert set(await jobs.logs("job", lines=10)) == {"out", "err ü"}
    assert len(await jobs.logs("job", lines=1)) == 1
    assert await jobs.logs("job", lines=0) == ()


@pytest.mark.parametrize("last", ["", "\n"])
def test_lines_are_read_from_the_end_of_a_long_file(tmp_path: Path, last: str) -> None:
    file = tmp_path / "long.log"
    lines = [f"line {n} {'x' * 90}" for n in range(5000)]
    file.write_text("\n".join(lines) + last)
    for count in (1, 3, 700, 4999, 5000, 9000):
        assert last_lines(file, count) == tuple(lines[-count:])
    file.write_bytes(b"\xff\xfe broken\n")
    assert last_lines(file, 1) == ("\ufffd\ufffd broken",)


async def test_a_log_that_has_grown_long_is_moved_aside(
    jobs: LocalJobs, clock: FakeClock, tmp_path: Path
) -> None:
    await jobs.start(spec(f"print('x' * {LOG_BYTES}); print('end')"))
    await until(lambda: clock.sleepers == 1)
    log, aside = tmp_path / "logs" / "job.log", tmp_path / "logs" / "job.log.1"
    assert log.stat().st_size == 0
    assert aside.stat().st_size == LOG_BYTES + len("\nend\n")
    assert log.stat().st_mode & 0o777 == aside.stat().st_mode & 0o777 == 0o600
    assert await jobs.logs("job", lines=1) == ()
