"""What is to be done about a job, and when it is done."""

from dataclasses import replace

import pytest

from clusterkit.cluster.consul import CatalogService, CheckStatus, ServiceCheck
from clusterkit.cluster.deploy.decide import (
    Rollout,
    differing_items,
    is_healthy,
    lives,
    must_be_submitted,
    suspect,
)
from clusterkit.cluster.nomad_records import Allocation, Deployment, Evaluation, Plan, TaskState

RUNNING = TaskState(state="running", failed=False, restarts=1)
ALLOCATION = Allocation(
    id="a",
    job="web",
    group="web",
    node="1",
    node_name="attic",
    client_status="running",
    create_index=1,
    tasks={"run": RUNNING, "sidecar": RUNNING},
)
EVALUATION = Evaluation(id="e", status="complete", description="", deployment="d")
DEPLOYMENT = Deployment(id="d", status="successful", description="Deployment completed successfully")


@pytest.mark.parametrize(
    ("changes", "registered", "submitted"),
    [
        (False, {"Status": "running"}, False),
        (False, {"Status": "pending"}, False),
        (True, {"Status": "running"}, True),
        (False, {"Status": "dead"}, True),
        (False, None, True),
    ],
)
def test_a_job_is_submitted_when_it_differs_is_unknown_or_has_given_up(
    changes: bool, registered: dict[str, str] | None, submitted: bool
) -> None:
    assert must_be_submitted(Plan(changes=changes, job_modify_index=7), registered) == submitted


def test_items_that_are_new_gone_or_another_differ() -> None:
    assert differing_items({"a": "1", "b": "1", "c": "1"}, {"b": "1", "c": "2", "d": "1"}) == ["a", "c", "d"]


def test_a_restart_in_place_is_another_life_and_what_has_ended_has_none() -> None:
    restarted = replace(ALLOCATION, tasks={"run": RUNNING, "sidecar": replace(RUNNING, restarts=2)})
    ended = replace(ALLOCATION, id="b", client_status="failed")
    assert lives([ALLOCATION, ended]) == {("a", 2)}
    assert lives([restarted]) == {("a", 3)}


@pytest.mark.parametrize(
    ("rollout", "succeeded"),
    [
        (Rollout(), False),
        (Rollout(evaluation=replace(EVALUATION, status="pending")), False),
        (Rollout(evaluation=replace(EVALUATION, status="failed"), deployment=DEPLOYMENT), False),
        (Rollout(evaluation=replace(EVALUATION, deployment="")), True),
        (Rollout(evaluation=EVALUATION), False),
        (Rollout(evaluation=EVALUATION, deployment=DEPLOYMENT), True),
        (Rollout(evaluation=EVALUATION, deployment=replace(DEPLOYMENT, status="running")), False),
        (Rollout(evaluation=EVALUATION, deployment=replace(DEPLOYMENT, status="failed")), False),
    ],
)
def test_a_roll_out_has_succeeded_when_its_own_deployment_has_or_none_was_needed(
    rollout: Rollout, succeeded: bool
) -> None:
    assert rollout.succeeded == succeeded


def instance(*statuses: CheckStatus) -> CatalogService:
    checks = tuple(ServiceCheck(id="c", name="c", node="attic", status=status) for status in statuses)
    return CatalogService(
        id="i", service="web", node="attic", node_address="", address="", port=1, checks=checks
    )


def test_one_instance_that_passes_every_check_is_enough() -> None:
    good, bad = (CheckStatus.PASSING, CheckStatus.CRITICAL)
    assert is_healthy([instance(good, bad), instance(good, good)])
    assert not is_healthy([instance(good, bad), instance(CheckStatus.WARNING, good)])
    assert not is_healthy([])


def test_the_task_that_failed_is_looked_at_else_the_first() -> None:
    failed = {"run": RUNNING, "sidecar": replace(RUNNING, failed=True)}
    assert suspect(replace(ALLOCATION, tasks=failed)) == "sidecar"
    assert suspect(ALLOCATION) == "run"
    assert suspect(replace(ALLOCATION, tasks={})) == ""
