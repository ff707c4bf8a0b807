"""What people are told of a plan, of a job that failed and of a host that leaves."""

import json
import subprocess
import sys
from typing import Any

import pytest

from clusterkit.cluster.explain.job import JobFailure, failure_lines, plan_lines, without_place
from clusterkit.cluster.explain.removal import Leaving, farewell_lines, removal_lines

PLAN: dict[str, Any] = {
    "Diff": {
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
    },
    "Annotations": {"DesiredTGUpdates": {"agent": {"Place": 1, "Ignore": 0, "DestructiveUpdate": 2}}},
    "FailedTGAllocs": None,
}


def test_a_plan_names_every_field_that_changes_and_what_becomes_of_each_group() -> None:
    assert plan_lines("pipecatapp", PLAN) == [
        "Job pipecatapp: Edited",
        'Priority: "50" -> "60"',
        'agent.Count: "1" -> "2"',
        'agent.run.Config.args[0]: "" -> "a \\"b\\""',
        "agent: Place 1, DestructiveUpdate 2",
    ]
    assert without_place(PLAN) == []


def test_a_new_job_is_said_without_its_fields() -> None:
    added = {**PLAN, "Diff": {**PLAN["Diff"], "Type": "Added"}, "Annotations": None}
    assert plan_lines("pipecatapp", added) == ["Job pipecatapp: Added"]


def test_every_reason_for_which_no_host_was_taken_is_said() -> None:
    why = {
        "CoalescedFailures": 1,
        "NodesEvaluated": 3,
        "ConstraintFiltered": {"distinct_hosts": 1},
        "DimensionExhausted": {"memory": 2},
        "ClassFiltered": None,
    }
    assert without_place({"FailedTGAllocs": {"main": why}}) == [
        "main: 2 without a place; 3 hosts looked at, distinct_hosts on 1, memory on 2"
    ]


def failure(**changes: Any) -> JobFailure:
    events = [{"Type": "Event", "DisplayMessage": f"number {number}"} for number in range(8)]
    whole: JobFailure = {
        "job": "pipecatapp",
        "settled": False,
        "deployment": {"StatusDescription": "Failed due to progress deadline"},
        "evaluation": {"StatusDescription": "of the evaluation"},
        "allocation": {
            "ID": "0123456789",
            "NodeName": "attic",
            "ClientStatus": "failed",
            "ClientDescription": "Failed tasks",
            "TaskStates": {"run": {"Events": events}},
        },
        "task": "run",
        "checks": [
            {"Name": "health", "Node": "attic", "Status": "critical", "Output": "503: no model\n"},
            {"Name": "serf", "Node": "attic", "Status": "passing", "Output": "fine"},
        ],
        "output": {"stderr": "one\ntwo\n", "stdout": " \n"},
    }
    whole.update(changes)  # type: ignore[typeddict-item]
    return whole


def test_a_failure_is_told_from_the_deployment_to_the_last_lines() -> None:
    assert failure_lines(failure()) == [
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
    ("changes", "second"),
    [
        ({"deployment": {}}, "Deployment: of the evaluation"),
        ({"deployment": {}, "evaluation": {}}, "Deployment: none; Nomad did not answer in time"),
        ({"settled": True, "allocation": {}, "task": ""}, "Nomad made no allocation of it."),
    ],
)
def test_what_was_not_answered_is_left_out(changes: dict[str, Any], second: str) -> None:
    assert failure_lines(failure(**changes))[1] == second


def leaving(**changes: Any) -> Leaving:
    whole: Leaving = {
        "host": "Attic",
        "name": "attic",
        "known": True,
        "listed": True,
        "server": True,
        "alive": True,
        "reached": True,
        "seen_alive": True,
        "quorum": {
            "Consul": {"servers": ["a", "attic", "b"], "healthy": ["a", "attic", "b"], "leader": "attic"},
            "Nomad": {"servers": ["a", "b", "c"], "healthy": ["a", "b", "c"], "leader": "a"},
        },
        "allocations": [
            {"JobID": "main", "TaskGroup": "one", "ClientStatus": "running", "Job": {"Type": "service"}},
            {"JobID": "exporter", "TaskGroup": "all", "ClientStatus": "pending", "Job": {"Type": "system"}},
            {"JobID": "old", "TaskGroup": "one", "ClientStatus": "complete", "Job": {"Type": "service"}},
        ],
        "ready": ["b", "attic", "a"],
        "controllers_left": 2,
        "controller": True,
    }
    whole.update(changes)  # type: ignore[typeddict-item]
    return whole


def test_leaving_is_told_by_majorities_and_by_work() -> None:
    assert removal_lines(leaving()) == [
        "Attic: a controller, alive.",
        "Consul: 3 servers now, 3 healthy, 2 needed; afterwards 2 servers, 2 healthy, 2 needed.",
        "Consul: Attic leads; another server takes over first.",
        "Consul: after that no server may fail, or nothing can be changed until it is back.",
        "Work: exporter (all) ends here; it runs on every host.",
        "Work: main (one) moves to a or b.",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"known": False}, "Attic is not in the cluster (any more): there is nothing to remove."),
        ({"alive": False}, "Attic: a controller, reachable, but its agents are down."),
        (
            {"alive": False, "reached": False},
            "Attic: a controller, not reachable, though others see it alive.",
        ),
        (
            {"server": False, "alive": False, "reached": False, "seen_alive": False},
            "Attic: a worker, not reachable: taken for dead.",
        ),
        ({"allocations": []}, "Work: nothing runs there."),
        ({"ready": ["attic"]}, "Work: main (one) moves to no host, for none is ready: it stops."),
    ],
)
def test_each_state_of_the_host_has_its_sentence(changes: dict[str, Any], line: str) -> None:
    assert line in removal_lines(leaving(**changes))


def test_a_farewell_names_what_is_left_to_do() -> None:
    assert farewell_lines(leaving()) == [
        "Attic has left the cluster. To do now, by you:",
        "- Delete Attic from inventory.yaml; the host keeps no key of the site, and may be switched off.",
        "- 2 controllers stay. An even number survives no more failures than one fewer: add one",
        "  with add_host.yaml (playbook.yaml refuses an even number).",
    ]
    dead = leaving(listed=False, alive=False, reached=False, controller=False)
    assert farewell_lines(dead)[1].startswith("- It could not be told. Should its disk fall into other hands")


def test_the_program_reads_and_prints_json() -> None:
    program = [sys.executable, "-m", "clusterkit.cluster.explain", "plan"]
    sent = json.dumps({"job": "pipecatapp", "plan": PLAN})
    done = subprocess.run(program, input=sent, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"lines": plan_lines("pipecatapp", PLAN), "without_place": []}
