"""What every keeper of jobs does: the one of one machine, the one of a cluster, and the fake."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest

from clusterkit.cluster.agent_http import AgentAccess
from clusterkit.cluster.nomad import Nomad
from clusterkit.cluster.nomad_jobs import NomadJobs
from clusterkit.ports.jobs import JobError, JobRunner, Jobs, JobSpec, JobState
from clusterkit.ports.local_jobs import LocalJobs
from clusterkit.testing import FakeClock, FakeJobs
from tests.servers.agents import RunningAgent, nomad_agent, run_job

WAIT = JobSpec(name="wait", command=(sys.executable, "-c", "import signal; signal.pause()"))
NOTHING = JobSpec(name="nothing", command=("no-such-program-anywhere",))


@pytest.fixture(scope="module")
def agent() -> Iterator[RunningAgent]:
    with nomad_agent() as running:
        yield running


@pytest.fixture(params=["fake", "local"])
async def jobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[JobRunner]:
    """Programs that are ours to start and stop."""
    if request.param == "fake":
        yield FakeJobs(broken={"nothing"})
        return
    async with LocalJobs(tmp_path / "logs", FakeClock()) as local:
        yield local


Start = Callable[[str], Awaitable[None]]


@pytest.fixture(params=["fake", "local", "nomad"])
async def started(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Jobs, Start]]:
    """A keeper of jobs, and how somebody starts one there by name."""
    if request.param == "nomad":
        agent: RunningAgent = request.getfixturevalue("agent")
        async with Nomad(AgentAccess(url=agent.url)) as nomad:
            yield (
                NomadJobs(nomad),
                partial(asyncio.to_thread, partial(run_job, agent, program=WAIT.command[-1])),
            )
            for job in agent.get("/v1/jobs"):
                await nomad.stop_job(job["ID"], purge=True)
        return
    runner: JobRunner = FakeJobs() if request.param == "fake" else LocalJobs(tmp_path / "logs", FakeClock())

    async def start(name: str) -> None:
        await runner.start(JobSpec(name=name, command=WAIT.command))

    async with runner if isinstance(runner, LocalJobs) else nullcontext():
        yield runner, start


async def test_a_started_job_runs_until_it_is_stopped(jobs: JobRunner) -> None:
    assert await jobs.list() == ()
    await jobs.start(WAIT)
    (running,) = await jobs.list()
    assert (running.name, running.state, running.restarts) == ("wait", JobState.RUNNING, 0)
    await jobs.stop("wait")
    (stopped,) = await jobs.list()
    assert (stopped.state, stopped.pid) == (JobState.STOPPED, None)
    assert stopped.exit_code is not None


async def test_starting_a_running_job_leaves_it_as_it_is(jobs: JobRunner) -> None:
    await jobs.start(WAIT)
    before = await jobs.list()
    await jobs.start(WAIT)
    assert await jobs.list() == before


async def test_a_stopped_job_can_be_started_and_stopped_again(jobs: JobRunner) -> None:
    for _ in range(2):
        await jobs.start(WAIT)
        await jobs.stop("wait")
        await jobs.stop("wait")
    assert [job.state for job in await jobs.list()] == [JobState.STOPPED]


async def test_jobs_are_listed_by_name_with_how_they_are(started: tuple[Jobs, Start]) -> None:
    jobs, start = started
    assert await jobs.list() == ()
    for name in ("b", "a", "c"):
        await start(name)
    states = [(job.name, job.state, job.restarts) for job in await jobs.list()]
    assert states == [(name, JobState.RUNNING, 0) for name in ("a", "b", "c")]


async def test_a_job_without_its_program_is_refused_and_leaves_no_trace(jobs: JobRunner) -> None:
    with pytest.raises(JobError, match="'nothing': there is no program 'no-such-program-anywhere'"):
        await jobs.start(NOTHING)
    assert await jobs.list() == ()


async def test_stopping_an_unknown_job_names_those_that_are_known(jobs: JobRunner) -> None:
    await jobs.start(WAIT)
    with pytest.raises(JobError, match=r"there is no job 'x' \(known: wait\)"):
        await jobs.stop("x")


async def test_logs_of_an_unknown_job_name_those_that_are_known(started: tuple[Jobs, Start]) -> None:
    jobs, start = started
    await start("wait")
    with pytest.raises(JobError, match=r"there is no job 'x' \(known: wait\)"):
        await jobs.logs("x", lines=5)
    assert await jobs.logs("wait", lines=5) == ()
