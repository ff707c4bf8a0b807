"""How a case is run: a steady cluster, one fault under load, and the same steady cluster again."""

import contextlib
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.lab.cluster import Cluster
from tests.lab.engine import LabError
from tests.lab.playbook_run import ROOT
from tests.subjects import fault_subject

STEADY_WITHIN_S = 240.0


@dataclass
class Report:
    """What was seen of one case."""

    name: str
    owner: str
    result: str = "failed"
    detected_s: float | None = None
    healed_s: float | None = None
    steady_s: float | None = None
    requests: dict[str, object] = field(default_factory=dict)
    changed_by_playbook: int | None = None
    seen: dict[str, object] = field(default_factory=dict)
    error: str = ""
    module: str = ""
    subject: str = ""

    def expect(self, holds: bool, what: str) -> None:
        """A claim of the case; the case ends where one does not hold."""
        if not holds:
            raise LabError(what)


Run = Callable[[Cluster, Report], None]


@dataclass(frozen=True)
class Case:
    """One fault. `owner` says who must heal it; `lost_at_most` how many requests it may cost."""

    name: str
    run: Run
    owner: str
    lost_at_most: int | None
    playbook: bool
    same_versions: bool


CASES: dict[str, Case] = {}


def case(
    *,
    owner: str,
    lost_at_most: int | None = None,
    playbook: bool = False,
    same_versions: bool = True,
) -> Callable[[Run], Run]:
    """Make a function a case of the campaign, under its own name.

    `playbook`: the root playbook must find nothing to change afterwards. `same_versions` is false for the
    few cases that legitimately leave newer versions of jobs behind.
    """

    def register(run: Run) -> Run:
        name = run.__name__
        CASES[name] = Case(name, run, owner, lost_at_most, playbook, same_versions)
        return run

    return register


def run_case(one: Case, cluster: Cluster) -> Report:
    """Run one case; the report says how it went."""
    module = one.run.__module__
    report = Report(one.name, one.owner, module=module, subject=fault_subject(ROOT, module))
    try:
        _run(one, cluster, report)
        report.result = "passed"
    except Exception as error:  # noqa: BLE001 - a broken case must not end the campaign
        report.error = f"{type(error).__name__}: {error}"[-3000:]
        if not isinstance(error, LabError):
            report.error += "\n" + traceback.format_exc()[-2000:]
        _clean_up(cluster)
    return report


def _run(one: Case, cluster: Cluster, report: Report) -> None:
    site = cluster.site
    site.wait(
        lambda: site.whole() and len(cluster.gateways()) == 2 and bool(cluster.experts()),
        STEADY_WITHIN_S,
        "a whole cluster before the fault",
    )
    before = site.settled()
    with cluster.prober() as prober:
        try:
            one.run(cluster, report)
            began = time.monotonic()
            wanted = before if one.same_versions else site.without_versions(before)
            site.wait_for_state(wanted, STEADY_WITHIN_S)
            report.steady_s = round(time.monotonic() - began, 1)
        finally:
            report.requests = prober.tally.as_dict()
    if one.playbook:
        again = site.converge().expect_success()
        report.changed_by_playbook = again.changed
        report.expect(again.changes == [], f"the playbook had to change {again.changes}")
    lost = prober.tally.lost.total()
    allowed = one.lost_at_most
    report.expect(allowed is None or lost <= allowed, f"{lost} requests lost, {allowed} allowed")


def _clean_up(cluster: Cluster) -> None:
    """After a case that broke: end its faults, so that the next one meets a whole cluster."""
    with contextlib.suppress(LabError):
        cluster.lab.heal_network()
    for host in cluster.lab.machines.values():
        with contextlib.suppress(LabError):
            if not host.runs:
                host.boot()
        for stopped in ("consul", "nomad"):
            with contextlib.suppress(LabError):
                host.thaw(f"{stopped}[^ ]* agent")
        for path in host.disks:
            with contextlib.suppress(LabError):
                host.free_disk(path)


def rounded(seconds: float) -> float:
    """For results."""
    return round(seconds, 2)


Json = dict[str, Any]
