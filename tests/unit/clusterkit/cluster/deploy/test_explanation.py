"""What people are told of a plan and of a job that did not become healthy."""

from dataclasses import replace
from typing import Any

import pytest

from clusterkit.cluster.consul import CheckStatus, ServiceCheck
from clusterkit.cluster.deploy.decide import Rollout
from clusterkit.cluster.deploy.explanation import JobFailure, failure_lines, plan_lines, without_place
from clusterkit.cluster.nomad_records import (
    Allocation,
    Deployment,
    Evaluation,
    Plan,
    TaskEvent,
    TaskState,
    Unplaced,
    plan,
)
from tests.servers.fake_nomad import recorded

DIFF: dict[str, Any] = {
    "Type": "Edited",
    "Fields": [
        {"Name": "Priority", "Type": "Edited", "Old": "50", "New": "60"},
        {"Name": "Region", "Type": "None", "Old": "global", "New": "global"},
    ],
    "Objects": None,
    "TaskGroups": [
        {"Name": "idle", "Type": "None"},
        {
            "Name": "agent",
            "Type": "Edited",
            "Fields": [{"Name": "Count", "Type": "Edited", "Old": "1", "New": "2"}],
            "Objects": [],
            "Tasks": [
                {
                    "Name": "run",
                    "Type": "Edited",
                    "Fields": [],
                    "Objects": [
                        {
                            "Name": "Config",
                            "Type": "Edited",
                            "Fields": [{"Name": "args[0]", "Type": "Added", "Old": "", "New": 'a "b"'}],
                        }
                    ],
                }
            ],
        },
    ],
}
UPDATES = {"agent": {"Place": 1, "Ignore": 0, "DestructiveUpdate": 2}}


def test_a_plan_names_every_field_that_changes_and_what_becomes_of_each_group() -> None:
    assert plan_lines("pipecatapp", Plan(changes=True, job_modify_index=7, diff=DIFF, updates=UPDATES)) == [
        "Job pipecatapp: Edited",
        'Priority: "50" -> "60"',
        'agent.Count: "1" -> "2"',
        'agent.run.Config.args[0]: "" -> "a \\"b\\""',
        "agent: Place 1, DestructiveUpdate 2",
    ]


def test_a_new_job_is_said_without_its_fields() -> None:
    added = Plan(changes=True, job_modify_index=0, diff={**DIFF, "Type": "Added"})
    assert plan_lines("pipecatapp", added) == ["Job pipecatapp: Added"]


def test_the_plan_of_a_real_nomad_is_told() -> None:
    answer = plan(recorded("nomad/plan"))
    assert (answer.changes, answer.job_modify_index, without_place(answer)) == (True, 10, [])
    assert plan_lines("web", answer) == [
        "Job web: Edited",
        'web.web.Config.args[0]: "-f" -> "-F"',
        'web.web.Resources.MemoryMB: "20" -> "30"',
        "web: DestructiveUpdate 1",
    ]


def test_a_real_nomad_without_a_place_is_told() -> None:
    answer = plan(recorded("nomad/plan_without_place"))
    assert without_place(answer) == ["web: 1 without a place; 1 hosts looked at, memory on 1"]


def test_every_reason_for_which_no_host_was_taken_is_said() -> None:
    metrics = {
        "CoalescedFailures": 1,
        "NodesEvaluated": 3,
        "ConstraintFiltered": {"distinct_hosts": 1},
        "DimensionExhausted": {"memory": 2},
        "ClassFiltered": {"old": 1},
    }
    answer = plan({**recorded("nomad/plan"), "FailedTGAllocs": {"main": metrics}})
    obstacles = {"distinct_hosts": 1, "memory": 2, "old": 1}
    assert answer.unplaced == {"main": Unplaced(count=2, hosts_looked_at=3, obstacles=obstacles)}
    assert without_place(answer) == [
        "main: 2 without a place; 3 hosts looked at, distinct_hosts on 1, memory on 2, old on 1"
    ]


EVENTS = tuple(TaskEvent(type="Event", message=f"number {number}") for number in range(8))
ALLOCATION = Allocation(
    id="0123456789",
    job="pipecatapp",
    group="agent",
    node="1",
    node_name="attic",
    client_status="failed",
    create_index=1,
    description="Failed tasks",
    tasks={"run": TaskState(state="dead", failed=True, restarts=3, events=EVENTS)},
)
EVALUATION = Evaluation(id="e", status="complete", description="", deployment="d")
DEPLOYMENT = Deployment(id="d", status="failed", description="Failed due to progress deadline")
FAILURE = JobFailure(
    job="pipecatapp",
    rollout=Rollout(evaluation=EVALUATION, deployment=DEPLOYMENT),
    allocation=ALLOCATION,
    checks=[
        ServiceCheck(
            id="1", name="health", node="attic", status=CheckStatus.CRITICAL, output="503: no model\n"
        ),
        ServiceCheck(id="2", name="port", node="attic", status=CheckStatus.PASSING, output="fine"),
    ],
    output={"stderr": "one\ntwo\n", "stdout": " \n"},
)


def test_a_failure_is_told_from_the_deployment_to_the_last_lines() -> None:
    assert failure_lines(FAILURE) == [
        "pipecatapp did not become healthy.",
        "Deployment: Failed due to progress deadline",
        "Allocation 01234567 on attic: failed (Failed tasks)",
        *(f"  Event: number {number}" for number in range(2, 8)),
        "  Check health on attic: 503: no model",
        "Last lines of stderr:",
        "  one",
        "  two",
    ]


@pytest.mark.parametrize(
    ("rollout", "second"),
    [
        (Rollout(), "Deployment: none; Nomad did not answer in time"),
        (
            Rollout(evaluation=replace(EVALUATION, status="failed", description="maximum attempts reached")),
            "Deployment: maximum attempts reached",
        ),
        (
            Rollout(evaluation=replace(EVALUATION, status="pending")),
            "Deployment: none; the evaluation is pending",
        ),
        (None, "Allocation 01234567 on attic: failed (Failed tasks)"),
        (
            Rollout(evaluation=replace(EVALUATION, deployment="")),
            "Allocation 01234567 on attic: failed (Failed tasks)",
        ),
    ],
)
def test_what_is_known_of_the_roll_out_is_told(rollout: Rollout | None, second: str) -> None:
    assert failure_lines(replace(FAILURE, rollout=rollout))[1] == second


def test_a_job_without_an_allocation_has_nothing_else_to_tell() -> None:
    assert failure_lines(replace(FAILURE, rollout=None, allocation=None)) == [
        "pipecatapp did not become healthy.",
        "Nomad made no allocation of it.",
    ]


def test_an_allocation_of_which_no_task_was_begun_is_told_without_events() -> None:
    unbegun = replace(ALLOCATION, tasks={}, client_status="pending", description="No tasks have started")
    assert failure_lines(JobFailure(job="web", allocation=unbegun)) == [
        "web did not become healthy.",
        "Allocation 01234567 on attic: pending (No tasks have started)",
    ]
