"""What is asked of the agents to bring a job, whatever becomes of it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from clusterkit.cluster.deploy.__main__ import Answer, answer
from clusterkit.cluster.deploy.request import DeploymentError, read_request
from tests.servers.fake_nomad import FakeCluster, fake_cluster

HCL = 'job "web" {}'
PATH = "nomad/jobs/web"


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with fake_cluster() as running:
        yield running


def asked(cluster: FakeCluster, **changes: Any) -> dict[str, Any]:
    agent = {"url": cluster.url, "token": "swordfish", "ca_file": "/nowhere/ca.pem"}
    return {
        "job": "web",
        "source": "web.nomad.j2",
        "hcl": HCL,
        "service": "web",
        "timeout_s": 5,
        "poll_s": 0.01,
        "log_bytes": 4000,
        "nomad": agent,
        "consul": agent,
        **changes,
    }


async def told(cluster: FakeCluster, command: str = "apply", **changes: Any) -> Answer:
    return await answer(command, read_request(json.dumps(asked(cluster, **changes))))


async def problem(cluster: FakeCluster, command: str = "apply", **changes: Any) -> list[str]:
    """Why it failed, where waiting is in vain."""
    return (await told(cluster, command, **{"timeout_s": 0.1, **changes}))["problem"]


async def test_a_job_that_is_missing_is_submitted_once(cluster: FakeCluster) -> None:
    first = await told(cluster)
    assert (first["changed"], first["lines"][0], first["problem"]) == (True, "Job web: Added", [])
    assert await told(cluster) == {"changed": False, "lines": [], "problem": []}
    assert (cluster.submitted, cluster.rescheduled) == (["web"], [])


async def test_a_dead_job_that_did_not_change_is_submitted_and_rescheduled(cluster: FakeCluster) -> None:
    await told(cluster)
    cluster.dead.add("web")
    assert (await told(cluster))["problem"] == []
    assert (cluster.submitted, cluster.rescheduled) == (["web", "web"], ["web"])


async def test_a_plan_tells_all_that_would_change_and_changes_nothing(cluster: FakeCluster) -> None:
    cluster.fits_no_host = True
    planned = await told(cluster, "plan", secrets={"answer": "42"})
    assert planned["changed"]
    assert planned["lines"][0] == "Job web: Added"
    assert "No place: web: 1 without a place; 1 hosts looked at, memory on 1" in planned["lines"]
    assert "Secrets of web that change: answer" in planned["lines"]
    assert (planned["problem"], cluster.submitted, cluster.variables) == ([], [], {})


async def test_a_plan_of_what_is_there_tells_nothing(cluster: FakeCluster) -> None:
    await told(cluster, secrets={"answer": "42"})
    unchanged = await told(cluster, "plan", secrets={"answer": "42"})
    assert unchanged == {"changed": False, "lines": [], "problem": []}


async def test_a_job_that_fits_no_host_is_refused_before_anything_is_written(cluster: FakeCluster) -> None:
    cluster.fits_no_host = True
    refused = await told(cluster, timeout_s=0.1, secrets={"answer": "42"})
    assert refused["problem"] == [
        "web fits no host, nothing was submitted. web: 1 without a place; 1 hosts looked at, memory on 1"
    ]
    assert (refused["changed"], cluster.submitted, cluster.variables) == (False, [], {})


async def test_a_job_of_another_name_is_refused(cluster: FakeCluster) -> None:
    for command in ("plan", "apply"):
        assert await problem(cluster, command, hcl='job "wed" {}') == [
            "web.nomad.j2: the job is called wed, not web"
        ]
    assert cluster.submitted == []


async def test_a_job_that_another_changed_meanwhile_is_not_overwritten(cluster: FakeCluster) -> None:
    await told(cluster)
    cluster.jobs["web"] = {}
    cluster.overtaken = True
    (said,) = await problem(cluster)
    assert "job exists with conflicting job modify index" in said
    assert said.startswith("web: ")
    assert cluster.submitted == ["web"]


# --- secrets -----------------------------------------------------------------------------------------
async def test_secrets_that_changed_are_waited_for_until_the_tasks_have_read_them(
    cluster: FakeCluster,
) -> None:
    await told(cluster, secrets={"answer": "42"})
    cluster.pending["restart"] = 3
    changed = await told(cluster, secrets={"answer": "43"})
    assert changed == {"changed": True, "lines": ["Secrets of web that change: answer"], "problem": []}
    assert (cluster.variables[PATH], cluster.submitted) == ({"answer": "43"}, ["web"])
    assert not cluster.outdated


async def test_tasks_that_are_not_started_anew_are_a_problem(cluster: FakeCluster) -> None:
    await told(cluster, secrets={"answer": "42"})
    cluster.pending["restart"] = 1_000_000
    assert await problem(cluster, secrets={"answer": "43"}) == [
        "web: Nomad did not start its tasks anew within 0.1 s of getting other secrets"
    ]


async def test_a_job_without_secrets_leaves_those_that_are_there(cluster: FakeCluster) -> None:
    cluster.variables[PATH] = {"answer": "42"}
    await told(cluster)
    assert cluster.variables[PATH] == {"answer": "42"}


async def test_secrets_that_another_changed_meanwhile_are_not_overwritten(cluster: FakeCluster) -> None:
    await told(cluster, secrets={"answer": "trout"})
    cluster.overtaken = True
    (said,) = await problem(cluster, secrets={"answer": "marlin"})
    assert "409, another value is there" in said
    assert cluster.variables[PATH] == {"answer": "trout"}
    assert not any(secret in said for secret in ("trout", "marlin", "swordfish"))


# --- waiting -----------------------------------------------------------------------------------------
async def test_the_roll_out_of_this_very_submission_is_followed(cluster: FakeCluster) -> None:
    cluster.deployment = "successful"
    cluster.pending.update({"evaluation": 3, "deployment": 3})
    assert (await told(cluster))["problem"] == []
    assert not +cluster.pending


async def test_a_roll_out_that_failed_is_a_failure_though_the_old_version_is_healthy(
    cluster: FakeCluster,
) -> None:
    cluster.deployment = "failed"
    cluster.output = {"stderr": "no such model\n", "stdout": ""}
    failed = await told(cluster)
    assert failed["problem"] == [
        "web did not become healthy.",
        "Deployment: Deployment failed",
        "Allocation first-we on here: running (Tasks are running)",
        "  Received: Task received by client",
        "  Task Setup: Building Task Directory",
        "  Started: Task started by client",
        "Last lines of stderr:",
        "  no such model",
    ]
    assert failed["changed"]


async def test_what_hangs_is_given_up_after_its_time(cluster: FakeCluster) -> None:
    cluster.pending["evaluation"] = 1_000_000
    assert "Deployment: none; the evaluation is pending" in await problem(cluster)


async def test_a_lost_leader_is_waited_out(cluster: FakeCluster) -> None:
    cluster.broken.update({"/v1/evaluation/of-web": 2, "/v1/health/service/web": 2})
    assert (await told(cluster))["problem"] == []


async def test_an_agent_that_never_answers_is_a_failure(cluster: FakeCluster) -> None:
    cluster.broken["/v1/evaluation/of-web"] = 1_000_000
    assert "Deployment: none; Nomad did not answer in time" in await problem(cluster)


async def test_a_job_is_not_done_before_its_service_is_healthy(cluster: FakeCluster) -> None:
    cluster.recovering["web"] = 3
    assert (await told(cluster))["problem"] == []
    assert cluster.asked["web"] == 4


async def test_a_service_that_stays_ill_is_told_with_its_checks(cluster: FakeCluster) -> None:
    cluster.critical.add("web")
    said = await problem(cluster)
    assert said[0] == "web did not become healthy."
    assert '  Check service: "expert-main" check on here: 503: no model can be used' in said
    assert not any(line.startswith("Deployment") for line in said)


async def test_a_job_without_a_service_is_done_with_its_roll_out(cluster: FakeCluster) -> None:
    cluster.critical.add("web")
    assert (await told(cluster, service=""))["problem"] == []
    assert cluster.asked["web"] == 0


async def test_a_job_that_is_not_to_be_waited_for_is_verified_later(cluster: FakeCluster) -> None:
    cluster.critical.add("web")
    assert (await told(cluster, wait=False))["problem"] == []
    assert cluster.submitted == ["web"]
    assert (await problem(cluster, "verify", hcl="", source=""))[0] == "web did not become healthy."
    cluster.critical.clear()
    assert await told(cluster, "verify") == {"changed": False, "lines": [], "problem": []}
    assert cluster.submitted == ["web"]


# --- the program -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"timeout_s": 0}, "timeout_s: Input should be greater than 0"),
        ({"nomad": {"url": "http://localhost", "token": "swordfish"}}, "nomad.ca_file: Field required"),
        ({"secrets": {"answer": 42}}, "secrets.answer: Input should be a valid string"),
    ],
)
def test_a_request_of_another_release_is_refused_without_a_word_of_its_secrets(
    cluster: FakeCluster, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(DeploymentError) as refused:
        read_request(json.dumps(asked(cluster, **changes)))
    assert str(refused.value) == f"the request is not as this release reads it: {said}"
    assert "swordfish" not in repr(refused.value.__cause__)


def test_what_a_request_holds_of_secrets_is_not_shown(cluster: FakeCluster) -> None:
    request = read_request(json.dumps(asked(cluster, secrets={"answer": "marlin"})))
    assert "marlin" not in repr(request)
    assert "swordfish" not in repr(request) + repr(request.nomad.access)


def test_the_program_reads_a_request_and_prints_an_answer(cluster: FakeCluster) -> None:
    def run(command: str, sent: dict[str, Any]) -> Any:
        program = [sys.executable, "-m", "clusterkit.cluster.deploy", command]
        done = subprocess.run(program, input=json.dumps(sent), capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    assert run("apply", asked(cluster))["changed"] is True
    assert cluster.submitted == ["web"]
    assert run("verify", {"job": "web"}) == {
        "changed": False,
        "lines": [],
        "problem": ["the request is not as this release reads it: timeout_s: Field required"],
    }
