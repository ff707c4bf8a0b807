"""What people are told of a host that leaves."""

import json
import subprocess
import sys
from typing import Any

import pytest

from clusterkit.cluster.explain.removal import Leaving, farewell_lines, removal_lines


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
    program = [sys.executable, "-m", "clusterkit.cluster.explain", "removal"]
    done = subprocess.run(program, input=json.dumps(leaving()), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == removal_lines(leaving())
