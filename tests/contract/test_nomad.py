"""Our client of Nomad against a real agent, with python-nomad as an independent reader."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nomad as python_nomad
import orjson
import pytest

from clusterkit.clock import SystemClock
from clusterkit.cluster.agent_http import (
    AgentAccess,
    NoLeaderError,
    NotFoundError,
    RefusedError,
    RejectedError,
    UnreachableError,
    Wait,
)
from clusterkit.cluster.nomad import Nomad
from clusterkit.cluster.nomad_events import ClusterEvent, Resync, follow
from clusterkit.cluster.nomad_jobs import NomadJobs
from clusterkit.cluster.nomad_records import Allocation, Deployment, Registration, Unplaced
from clusterkit.testing import FakeClock
from tests.servers.agents import RunningAgent, nomad_agent, run_job, wait_until_ready
from tests.servers.raw_upstream import Exchange, raw_upstream

MANAGEMENT = "5b1f3a52-1d1c-4d6a-9c8e-0d5a3f1e7a01"
SPEAK = "import sys, signal; print('one'); print('two', flush=True); signal.pause()"
WAIT_HCL = """
job "waiter" {
  group "all" {
    count = 2
    update {
      min_healthy_time = "0s"
    }
    task "wait" {
      driver = "raw_exec"
      config {
        command = "/usr/bin/tail"
        args    = ["-f", "/dev/null"]
      }
      resources {
        cpu    = 20
        memory = 20
      }
    }
  }
}
"""


@pytest.fixture(scope="module")
def agent() -> Iterator[RunningAgent]:
    with nomad_agent() as running:
        yield running


@pytest.fixture
def reader(agent: RunningAgent) -> Any:
    host, _, port = agent.url.removeprefix("http://").partition(":")
    return python_nomad.Nomad(host=host, port=int(port))


@pytest.fixture
async def nomad(agent: RunningAgent) -> AsyncIterator[Nomad]:
    async with Nomad(AgentAccess(url=agent.url)) as opened:
        yield opened
        for job in agent.get("/v1/jobs"):
            await opened.stop_job(job["ID"], purge=True)


async def running(nomad: Nomad, job: str, count: int) -> tuple[Allocation, ...]:
    """The allocations of a job once `count` of them run."""
    index = 0
    async with asyncio.timeout(60):
        while True:
            reading = await nomad.allocations(job, wait=Wait(index=index, seconds=30) if index else None)
            found = tuple(one for one in reading.value if one.client_status == "running")
            if len(found) == count:
                return found
            index = reading.index


async def rolled_out(nomad: Nomad, registration: Registration) -> Deployment:
    """The roll-out of what was registered, once it has come to its end."""
    async with asyncio.timeout(60):
        while (evaluation := await nomad.evaluation(registration.evaluation)).status == "pending":
            pass
        while (deployment := await nomad.deployment(evaluation.deployment)).status == "running":
            pass
    return deployment


@pytest.mark.req("CLU-03")
async def test_a_job_file_is_parsed_planned_registered_scaled_and_stopped(nomad: Nomad, reader: Any) -> None:
    job = await nomad.parse_job(WAIT_HCL)
    plan = await nomad.plan_job(job)
    assert (plan.changes, plan.job_modify_index, plan.unplaced) == (True, 0, {})
    registration = await nomad.register_job(job, only_at=plan.job_modify_index)
    assert [one.group for one in await running(nomad, "waiter", 2)] == ["all", "all"]
    assert reader.job.get_job("waiter")["JobModifyIndex"] == registration.job_modify_index
    assert not (await nomad.plan_job(job)).changes
    await rolled_out(nomad, registration)
    await nomad.scale("waiter", "all", 1)
    await running(nomad, "waiter", 1)
    assert reader.job.get_job("waiter")["TaskGroups"][0]["Count"] == 1
    assert [one.id for one in (await nomad.jobs()).value] == ["waiter"]
    await nomad.stop_job("waiter")
    await running(nomad, "waiter", 0)
    assert reader.job.get_job("waiter")["Stop"]
    await nomad.stop_job("waiter", purge=True)
    with pytest.raises(NotFoundError, match="/v1/job/waiter: 404"):
        await nomad.job("waiter")


@pytest.mark.req("CLU-03")
async def test_a_job_that_another_changed_meanwhile_is_not_overwritten(nomad: Nomad) -> None:
    job = await nomad.parse_job(WAIT_HCL)
    registration = await nomad.register_job(job, only_at=0)
    with pytest.raises(RejectedError, match="job modify index"):
        await nomad.register_job(job, only_at=0)
    await nomad.register_job(job, only_at=registration.job_modify_index)


async def test_a_broken_job_file_is_refused_with_its_line(nomad: Nomad) -> None:
    with pytest.raises(RejectedError, match=r":3,"):
        await nomad.parse_job('job "x" {\n  group "y" {\n    count = = 1\n  }\n}\n')


async def test_a_job_that_fits_nowhere_says_why(nomad: Nomad) -> None:
    job = await nomad.parse_job(WAIT_HCL.replace("memory = 20", "memory = 9000000"))
    plan = await nomad.plan_job(job)
    assert plan.unplaced == {"all": Unplaced(count=2, hosts_looked_at=1, obstacles={"memory": 1})}
    assert plan.updates["all"]["Place"] == 2


@pytest.mark.req("CLU-03")
async def test_an_allocation_is_restarted_in_place(nomad: Nomad) -> None:
    job = await nomad.parse_job(WAIT_HCL.replace("count = 2", "count = 1"))
    await nomad.register_job(job)
    (before,) = await running(nomad, "waiter", 1)
    await nomad.restart_allocation(before.id)
    (after,) = await running(nomad, "waiter", 1)
    assert after.id == before.id
    async with asyncio.timeout(30):
        while after.tasks["wait"].restarts == 0:
            (after,) = await running(nomad, "waiter", 1)


@pytest.mark.req("CLU-03")
async def test_what_a_job_writes_can_be_read(nomad: Nomad, agent: RunningAgent) -> None:
    jobs = NomadJobs(nomad)
    await asyncio.to_thread(run_job, agent, "speaker", SPEAK)
    async with asyncio.timeout(30):
        while not (said := await jobs.logs("speaker", lines=5)):
            pass
    assert said == ("one", "two")
    assert await jobs.logs("speaker", lines=1) == ("two",)


async def test_hosts_are_told_drained_and_given_back(nomad: Nomad, reader: Any) -> None:
    (node,) = (await nomad.nodes()).value
    assert (node.name, node.ready, node.eligible, node.draining) == ("here", True, True, False)
    await nomad.set_eligible(node.id, False)
    assert reader.nodes.get_nodes()[0]["SchedulingEligibility"] == "ineligible"
    await nomad.set_eligible(node.id, True)
    await nomad.register_job(await nomad.parse_job(WAIT_HCL))
    await running(nomad, "waiter", 2)
    await nomad.drain(node.id, deadline=1)
    await running(nomad, "waiter", 0)
    await nomad.stop_draining(node.id, eligible=True)
    (node,) = (await nomad.nodes()).value
    assert (node.eligible, node.draining) == (True, False)
    await running(nomad, "waiter", 2)


async def test_variables_are_kept_and_shown_nowhere(nomad: Nomad, reader: Any) -> None:
    path = "nomad/jobs/speaker"
    assert await nomad.variable(path) is None
    await nomad.put_variable(path, {"key": "swordfish"}, only_at=0)
    kept = await nomad.variable(path)
    assert kept is not None
    assert kept.items == {"key": "swordfish"}
    assert "swordfish" not in repr(kept)
    with pytest.raises(RejectedError) as refused:
        await nomad.put_variable(path, {"key": "marlin"}, only_at=0)
    assert not any(value in str(refused.value) for value in ("marlin", "swordfish"))
    await nomad.put_variable(path, {"key": "marlin"}, only_at=kept.modify_index)
    assert reader.variable.get_variable(path)["Items"] == {"key": "marlin"}


async def test_a_roll_out_is_followed_from_its_registration(nomad: Nomad, reader: Any) -> None:
    assert await nomad.leader()
    registration = await nomad.register_job(await nomad.parse_job(WAIT_HCL))
    deployment = await rolled_out(nomad, registration)
    assert (deployment.status, deployment.description) == (
        "successful",
        "Deployment completed successfully",
    )
    allocations = await nomad.deployment_allocations(deployment.id)
    assert allocations == (await nomad.allocations("waiter", stale=False)).value
    assert {one.description for one in allocations} == {"Tasks are running"}
    assert [one["ID"] for one in reader.job.get_deployments("waiter")] == [deployment.id]


# --- access ------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for 127.0.0.1 that vouches for itself."""
    folder = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=here", "-addext", "subjectAltName=IP:127.0.0.1,DNS:server.global.nomad"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "ca.pem")]
    subprocess.run(["openssl", "req", "-x509", *curve, *files, *subject], check=True, capture_output=True)
    return folder


@pytest.mark.req("CLU-03")
async def test_a_certificate_and_a_token_are_asked_for_and_honoured(authority: Path, tmp_path: Path) -> None:
    key, certificate = str(authority / "key.pem"), str(authority / "ca.pem")
    tls = {"http": True, "ca_file": certificate, "cert_file": certificate, "key_file": key}
    settings = {"tls": {**tls, "verify_https_client": False}, "acl": {"enabled": True}}
    with nomad_agent(settings=settings, authority=authority / "ca.pem") as secured:
        secured.post("/v1/acl/bootstrap", {"BootstrapSecret": MANAGEMENT})
        wait_until_ready(secured, MANAGEMENT)
        token = tmp_path / "token"
        token.write_text(MANAGEMENT)
        access = AgentAccess(url=secured.url, ca_file=authority / "ca.pem", token_file=token)
        async with Nomad(access) as nomad:
            assert (await nomad.jobs()).value == ()
            assert (await nomad.nodes()).value[0].name == "here"
        told = AgentAccess(url=secured.url, ca_file=authority / "ca.pem", token=MANAGEMENT)
        assert MANAGEMENT not in repr(told)
        async with Nomad(told) as nomad:
            assert (await nomad.jobs()).value == ()
        async with Nomad(AgentAccess(url=secured.url, ca_file=authority / "ca.pem")) as nobody:
            with pytest.raises(RefusedError, match="/v1/jobs: 403"):
                await nobody.jobs()
        async with Nomad(AgentAccess(url=secured.url, token_file=token)) as credulous:
            with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
                await credulous.jobs()


def access_to(port: int) -> AgentAccess:
    return AgentAccess(url=f"http://127.0.0.1:{port}")


async def test_no_leader_is_told_from_other_failures() -> None:
    async def leaderless(exchange: Exchange) -> None:
        await exchange.answer(b"No cluster leader", status=500)

    async with raw_upstream(leaderless) as server, Nomad(access_to(server.port)) as nomad:
        with pytest.raises(NoLeaderError, match="/v1/status/leader: 500, No cluster leader"):
            await nomad.leader()


# --- events ------------------------------------------------------------------------------------------
async def test_events_of_a_real_agent_come_as_they_happen(nomad: Nomad) -> None:
    job = await nomad.parse_job(WAIT_HCL)
    stream: Any = follow(nomad, SystemClock(), ["Job"])
    assert await anext(stream) == Resync("begun")
    await nomad.register_job(job)
    async with asyncio.timeout(30):
        async for item in stream:
            assert isinstance(item, ClusterEvent)
            assert item.topic == "Job"
            if item.key == "waiter" and item.type == "JobRegistered":
                break
    await stream.aclose()


class Stream:
    """A server of events that follows a script: one list of batches for each connection."""

    def __init__(self, *scripts: list[int]) -> None:
        self._scripts = list(scripts)
        self.asked: list[str] = []

    async def __call__(self, exchange: Exchange) -> None:
        self.asked.append(exchange.target)
        await exchange.head(200, {"transfer-encoding": "chunked"})
        await exchange.chunk(b"{}\n")
        for index in self._scripts.pop(0) if self._scripts else []:
            event = {"Topic": "Node", "Type": "t", "Key": "k", "Payload": {}}
            await exchange.chunk(orjson.dumps({"Index": index, "Events": [event]}) + b"\n")
        if self._scripts:
            exchange.hang_up()
        else:
            await exchange.until_closed()


async def said_by(stream: Stream, count: int) -> list[Any]:
    clock, said = FakeClock(), []

    async def keep_moving() -> None:
        while True:
            await clock.advance(1)

    async with raw_upstream(stream) as server, asyncio.timeout(30):
        moving = asyncio.create_task(keep_moving())
        async with Nomad(access_to(server.port)) as nomad:
            events: Any = follow(nomad, clock)
            async for item in events:
                said.append(item.index if isinstance(item, ClusterEvent) else item.reason)
                if len(said) == count:
                    break
            await events.aclose()
        moving.cancel()
    return said


async def test_a_broken_stream_goes_on_where_it_stopped() -> None:
    stream = Stream([5, 6], [6, 7, 8])
    assert await said_by(stream, 5) == ["begun", 5, 6, 7, 8]
    assert ["index=6" in target for target in stream.asked] == [False, True]


async def test_what_was_missed_while_away_is_noticed() -> None:
    stream = Stream([5, 6], [9])
    assert await said_by(stream, 5) == ["begun", 5, 6, "events between 6 and 9 may be missing", 9]


async def test_a_cluster_begun_anew_is_noticed() -> None:
    stream = Stream([500], [500, 3])
    assert await said_by(stream, 4) == ["begun", 500, "the index went back from 500 to 3", 3]
