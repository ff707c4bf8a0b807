"""What every keeper of jobs does: the one of one machine, the one of a cluster, and the fake."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from clusterkit.clock import SystemClock
from clusterkit.cluster.agent_http import AgentAccess
from clusterkit.cluster.nomad import Nomad
from clusterkit.cluster.nomad_jobs import NomadJobs
from clusterkit.ports.jobs import JobError, Jobs, JobSpec, JobState
from clusterkit.ports.local_jobs import LocalJobs
from clusterkit.testing import FakeClock, FakeJobs
from tests.servers.agents import RunningAgent, nomad_agent

WAIT = JobSpec(name="wait", command=(sys.executable, "-c", "import signal; signal.pause()"))
NOTHING = JobSpec(name="nothing", command=("no-such-program-anywhere",))


@pytest.fixture(scope="module")
def agent() -> Iterator[RunningAgent]:
    with nomad_agent() as running:
        yield running


@pytest.fixture(params=["fake", "local", "nomad"])
async def jobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Jobs]:
    if request.param == "fake":
        yield FakeJobs(broken={"nothing"})
    elif request.param == "local":
        async with LocalJobs(tmp_path / "logs", FakeClock()) as local:
            yield local
    else:
        agent: RunningAgent = request.getfixturevalue("agent")
        async with Nomad(AgentAccess(url=agent.url)) as nomad:
            yield NomadJobs(nomad, SystemClock())
            for job in agent.get("/v1/jobs"):
                await nomad.stop_job(job["ID"], purge=True)


async def test_a_started_job_runs_until_it_is_stopped(jobs: Jobs) -> None:
    assert await jobs.list() == ()
    await jobs.start(WAIT)
    (running,) = await jobs.list()
    assert (running.name, running.state, running.restarts) == ("wait", JobState.RUNNING, 0)
    await jobs.stop("wait")
    (stopped,) = await jobs.list()
    assert (stopped.state, stopped.pid) == (JobState.STOPPED, None)
    assert stopped.exit_code is not None


async def test_starting_a_running_job_leaves_it_as_it_is(jobs: Jobs) -> None:
    await jobs.start(WAIT)
    before = await jobs.list()
    await jobs.start(WAIT)
    assert await jobs.list() == before


async def test_a_stopped_job_can_be_started_and_stopped_again(jobs: Jobs) -> None:
    for _ in range(2):
        await jobs.start(WAIT)
        await jobs.stop("wait")
        await jobs.stop("wait")
    assert [job.state for job in await jobs.list()] == [JobState.STOPPED]


async def test_jobs_are_listed_by_name(jobs: Jobs) -> None:
    for name in ("b", "a", "c"):
        await jobs.start(JobSpec(name=name, command=WAIT.command))
    assert [job.name for job in await jobs.list()] == ["a", "b", "c"]


async def test_a_job_without_its_program_is_refused_and_leaves_no_trace(jobs: Jobs) -> None:
    with pytest.raises(JobError, match="'nothing': there is no program 'no-such-program-anywhere'"):
        await jobs.start(NOTHING)
    assert await jobs.list() == ()


async def test_an_unknown_job_is_said_with_those_that_are_known(jobs: Jobs) -> None:
    await jobs.start(WAIT)
    with pytest.raises(JobError, match=r"there is no job 'x' \(known: wait\)"):
        await jobs.stop("x")
    with pytest.raises(JobError, match=r"there is no job 'x' \(known: wait\)"):
        await jobs.logs("x", lines=5)
    assert await jobs.logs("wait", lines=5) == ()
