"""The cluster on a lab: how long it takes to form with 1, 3 and 5 hosts, and what faults and changes cost.

There is no peer to run beside it; each figure is set against its goal. `SIZES` of hosts share one machine,
so five are slower here than five machines are.
"""

import os
import sys
import time
from typing import Any

from tests.faults.campaign import CASES, run_case
from tests.faults.hosts import ELSEWHERE_WITHIN_S
from tests.faults.processes import LEADER_GOAL_S
from tests.lab.cluster import Cluster
from tests.lab.host import dump
from tests.lab.lab import Lab
from tests.lab.playbook_run import ROOT
from tests.lab.timings import Timings

SIZES = (1, 3, 5)
GOAL_FORMED_S = 360.0
GOAL_SECOND_RUN = 0.35
RESULTS = ROOT / "docs" / "results" / "cluster.json"


def main() -> None:
    """Print the figures and keep them."""
    results: dict[str, Any] = {"cpus": os.cpu_count(), "sizes": {}}
    for hosts in SIZES:
        with Lab(f"bench-{hosts}", hosts=hosts, controllers=min(hosts, 3)) as lab:
            cluster = _form(lab, results)
            if hosts == 3:
                results["costs"] = _costs(cluster)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(dump(results))


def _form(lab: Lab, results: dict[str, Any]) -> Cluster:
    hosts = len(lab.machines)
    cluster = Cluster.form(lab, Timings())
    first, again = cluster.first_run, cluster.site.converge().expect_success()
    share = again.seconds / first.seconds
    results["sizes"][str(hosts)] = {
        "first_s": round(first.seconds, 1),
        "second_s": round(again.seconds, 1),
        "second_changed": again.changed,
        "plays_s": {name: round(seconds, 1) for name, seconds in first.plays.items()},
        "roles_s": {name: round(seconds, 1) for name, seconds in first.roles.items()},
    }
    _say(f"{hosts} blank hosts to all healthy", first.seconds, GOAL_FORMED_S, "s")
    for name, seconds in first.plays.items():
        sys.stdout.write(f"    {seconds:6.1f} s  {name}\n")
    _say(f"{hosts} hosts, second run ({again.changed} changed), share", share, GOAL_SECOND_RUN, "")
    return cluster


def _costs(cluster: Cluster) -> dict[str, Any]:
    costs: dict[str, Any] = {}
    leader = run_case(CASES["consul_leader_killed"], cluster)
    costs["consul_leader_killed_to_write_s"] = leader.healed_s
    _say("Consul's leader killed to writes accepted", leader.healed_s or 99, LEADER_GOAL_S, "s")
    vanished = run_case(CASES["host_vanishes_and_returns"], cluster)
    costs["host_killed_to_serving_elsewhere_s"] = vanished.healed_s
    _say("host killed to serving elsewhere", vanished.healed_s or 99, ELSEWHERE_WITHIN_S, "s")
    for name in ("rolling_upgrade", "host_drained"):
        began = time.monotonic()
        report = run_case(CASES[name], cluster)
        costs[name] = {**report.requests, "seconds": round(time.monotonic() - began, 1)}
        sys.stdout.write(f"{name}: {report.requests} (goal: none lost)\n")
    return costs


def _say(what: str, value: float, goal: float, unit: str) -> None:
    sys.stdout.write(f"{what}: {value:.2f} {unit} (goal {goal:g} {unit}, ratio {value / goal:.2f})\n")
    sys.stdout.flush()
