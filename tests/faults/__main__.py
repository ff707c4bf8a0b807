"""`python -m tests.faults [CASE …]`: the campaign on a lab of its own; `--lab NAME` takes one that is up."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from tests.faults import disks, hosts, interruptions, jobs, network, processes, refusals
from tests.faults.campaign import CASES, Report, run_case
from tests.lab.cluster import Cluster
from tests.lab.engine import LabError
from tests.lab.host import dump
from tests.lab.lab import Lab
from tests.lab.playbook_run import ROOT, PlaybookRun
from tests.lab.site import Site
from tests.lab.timings import Timings

#: In this order: what changes the cluster for good comes last.
GROUPS = (refusals, processes, network, disks, jobs, hosts, interruptions)
RESULTS = ROOT / "docs" / "results" / "faults.json"


def main(arguments: Sequence[str]) -> int:
    """Run the cases that are named, or all; the exit status is 1 when one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--lab", help="a converged lab that is up; it is kept")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        parser.error(f"no case {', '.join(unknown)} (known: {', '.join(CASES)})")
    try:
        if options.lab:
            cluster = Cluster(Site(Lab.load(options.lab)), PlaybookRun())
            reports = _campaign(cluster, options.cases)
        else:
            with Lab("faults", hosts=3, disks=disks.SMALL_DISKS) as lab:
                reports = _campaign(Cluster.form(lab, Timings()), options.cases)
    except LabError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0 if all(report.result == "passed" for report in reports) else 1


def _campaign(cluster: Cluster, names: Sequence[str]) -> list[Report]:
    order = [group.__name__ for group in GROUPS]
    wanted = [one for name, one in CASES.items() if not names or name in names]
    reports = []
    for one in sorted(wanted, key=lambda one: order.index(one.run.__module__)):
        sys.stdout.write(f"{one.name} … ")
        sys.stdout.flush()
        report = run_case(one, cluster)
        sys.stdout.write(
            f"{report.result}: detected {report.detected_s} s, healed {report.healed_s} s, "
            f"steady after {report.steady_s} s, requests {report.requests or 'none'} {report.error}\n"
        )
        sys.stdout.flush()
        _keep(report)
        reports.append(report)
    return reports


def _keep(report: Report) -> None:
    kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    kept[report.name] = asdict(report)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(dump({name: kept[name] for name in CASES if name in kept}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
