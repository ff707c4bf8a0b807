"""The cluster on a lab: how long it takes to form with 1, 3 and 5 hosts, and what faults and changes cost.

There is no peer to run beside it; each figure is set against its goal. `SIZES` of hosts share one machine,
so five are slower here than five machines are.
"""

import math
import os
import sys
from typing import Any

from tests.faults.campaign import CASES, Report, Run, run_case
from tests.faults.hosts import ELSEWHERE_WITHIN_S, host_vanishes_and_returns
from tests.faults.jobs import host_drained, rolling_upgrade
from tests.faults.processes import LEADER_GOAL_S, consul_leader_killed
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
    results["figures"] = figures(results)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(dump(results))


def figures(results: dict[str, Any]) -> list[dict[str, object]]:
    """The rows of the table in docs/cluster.md, from what was measured."""
    rows = []
    for size, of in results["sizes"].items():
        hosts = f"{size} blank host{'s' * (size != '1')}"
        rows.append(_row(f"{hosts} to all healthy", of["first_s"], GOAL_FORMED_S, " s"))
        share = of["second_s"] / of["first_s"]
        rows.append(
            _row(f"the second run ({of['second_changed']} changed) against that", share, GOAL_SECOND_RUN)
        )
    costs = results["costs"]
    gap, elsewhere = costs["consul_leader_killed_to_write_s"], costs["host_killed_to_serving_elsewhere_s"]
    rows.append(_row("Consul's leader killed to writes accepted", gap, LEADER_GOAL_S, " s"))
    rows.append(_row("host killed to its work served elsewhere", elsewhere, ELSEWHERE_WITHIN_S, " s"))
    for change, what in (("rolling_upgrade", "a rolling upgrade"), ("host_drained", "draining a host")):
        of = costs[change]
        rows.append(
            {
                "case": f"lost to {what}",
                "measured": f"{of['lost']} of {of['sent']} requests",
                "goal": "0",
                "ratio": "",
            }
        )
    return rows


def _row(what: str, value: float | None, goal: float, unit: str = "") -> dict[str, object]:
    if value is None:
        return {"case": what, "measured": "failed", "goal": f"{goal:g}{unit}", "ratio": ""}
    ratio = f"{value / goal:.2f}"
    return {"case": what, "measured": f"{value:.3g}{unit}", "goal": f"{goal:g}{unit}", "ratio": ratio}


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
    leader = _case(consul_leader_killed, cluster)
    _say("Consul's leader killed to writes accepted", leader.healed_s or math.inf, LEADER_GOAL_S, "s")
    vanished = _case(host_vanishes_and_returns, cluster)
    _say("host killed to serving elsewhere", vanished.healed_s or math.inf, ELSEWHERE_WITHIN_S, "s")
    costs: dict[str, Any] = {
        "consul_leader_killed_to_write_s": leader.healed_s,
        "host_killed_to_serving_elsewhere_s": vanished.healed_s,
    }
    for change in (rolling_upgrade, host_drained):
        report = _case(change, cluster)
        costs[report.name] = report.requests
        sys.stdout.write(f"{report.name}: {report.requests} (goal: none lost)\n")
    return costs


def _case(fault: Run, cluster: Cluster) -> Report:
    report = run_case(CASES[fault.__name__], cluster)
    if report.error:
        sys.stdout.write(f"{report.name} {report.result}: {report.error}\n")
    return report


def _say(what: str, value: float, goal: float, unit: str) -> None:
    sys.stdout.write(f"{what}: {value:.2f} {unit} (goal {goal:g} {unit}, ratio {value / goal:.2f})\n")
    sys.stdout.flush()
