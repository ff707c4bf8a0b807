"""The cluster on a lab: how long it takes to form with 1, 3 and 5 hosts, and what faults and changes cost.

There is no peer to run beside it; each figure is set against its goal. `SIZES` of hosts share one machine,
so five are slower here than five machines are.
"""

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
from tests.subjects import cluster_subject

SIZES = (1, 3, 5)
GOAL_FORMED_S = 360.0
GOAL_SECOND_RUN = 0.35
RESULTS = ROOT / "docs" / "results" / "cluster.json"

Figure = dict[str, str]


def main() -> None:
    """Print the figures and keep them."""
    results: dict[str, Any] = {
        "cpus": os.cpu_count(), "sizes": {}, "figures": [], "subject": cluster_subject(ROOT)
    }  # fmt: skip
    for hosts in SIZES:
        with Lab(f"bench-{hosts}", hosts=hosts, controllers=min(hosts, 3)) as lab:
            cluster = _form(lab, results)
            if hosts == 3:
                results["costs"] = _costs(cluster, results["figures"])
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(dump(results))


def _form(lab: Lab, results: dict[str, Any]) -> Cluster:
    hosts = len(lab.machines)
    cluster = Cluster.form(lab, Timings())
    first, again = cluster.first_run, cluster.site.converge().expect_success()
    results["sizes"][str(hosts)] = {
        "first_s": round(first.seconds, 1),
        "second_s": round(again.seconds, 1),
        "second_changed": again.changed,
        "plays_s": {name: round(seconds, 1) for name, seconds in first.plays.items()},
        "roles_s": {name: round(seconds, 1) for name, seconds in first.roles.items()},
    }
    blank = f"{hosts} blank host{'s' * (hosts != 1)}"
    results["figures"].append(_figure(f"{blank} to all healthy", first.seconds, GOAL_FORMED_S, " s"))
    for name, seconds in first.plays.items():
        sys.stdout.write(f"    {seconds:6.1f} s  {name}\n")
    share = again.seconds / first.seconds
    second = f"the second run ({again.changed} changed) against that"
    results["figures"].append(_figure(second, share, GOAL_SECOND_RUN))
    return cluster


def _costs(cluster: Cluster, figures: list[Figure]) -> dict[str, Any]:
    leader = _case(consul_leader_killed, cluster)
    what = "Consul's leader killed to writes accepted"
    figures.append(_figure(what, leader.healed_s, LEADER_GOAL_S, " s"))
    vanished = _case(host_vanishes_and_returns, cluster)
    what = "host killed to its work served elsewhere"
    figures.append(_figure(what, vanished.healed_s, ELSEWHERE_WITHIN_S, " s"))
    costs: dict[str, Any] = {
        "consul_leader_killed_to_write_s": leader.healed_s,
        "host_killed_to_serving_elsewhere_s": vanished.healed_s,
    }
    for change, what in ((rolling_upgrade, "a rolling upgrade"), (host_drained, "draining a host")):
        report = _case(change, cluster)
        costs[report.name] = report.requests
        sent = report.requests
        lost = f"{sent['lost']} of {sent['sent']} requests" if sent else "failed"
        figures.append(_said({"case": f"lost to {what}", "measured": lost, "goal": "0", "ratio": ""}))
    return costs


def _case(fault: Run, cluster: Cluster) -> Report:
    report = run_case(CASES[fault.__name__], cluster)
    if report.error:
        sys.stdout.write(f"{report.name} {report.result}: {report.error}\n")
    return report


def _figure(what: str, value: float | None, goal: float, unit: str = "") -> Figure:
    """A row of the table in docs/cluster.md; `value` is None where the case failed."""
    measured, ratio = ("failed", "") if value is None else (f"{value:.3g}{unit}", f"{value / goal:.2f}")
    return _said({"case": what, "measured": measured, "goal": f"{goal:g}{unit}", "ratio": ratio})


def _said(figure: Figure) -> Figure:
    ratio = figure["ratio"] and f", ratio {figure['ratio']}"
    sys.stdout.write(f"{figure['case']}: {figure['measured']} (goal {figure['goal']}{ratio})\n")
    sys.stdout.flush()
    return figure
