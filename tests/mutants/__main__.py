"""`python -m tests.mutants [ROW …]`: the mutants of these rows; without names, the new and the stale ones."""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.mutants.catalogue import Mutant, problems, read_mutants
from tests.mutants.results import changed, keep, stale
from tests.mutants.run import Verdict, try_row
from tests.mutants.scratch import Scratch
from tests.repository.fixtures import dependents
from tests.repository.marks import marked_tests

ROOT = Path(__file__).resolve().parents[2]
#: The fixture on which everything stands that needs hosts.
LAB = "lab_engine"


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Try them; the exit status is 1 when one was not killed, 2 for a wrong word or entry."""
    options = _parser().parse_args(arguments)
    wrong = list(problems(root))
    if wrong:
        sys.stderr.write("".join(f"error: {problem}\n" for problem in wrong))
        return 2
    mutants, marked = read_mutants(root), marked_tests(root)
    rows = sorted({mutant.row for mutant in mutants})
    unknown = sorted(set(options.rows) - set(rows))
    if unknown:
        sys.stderr.write(
            f"error: no mutants of {', '.join(unknown)} (there are some of: {', '.join(rows)})\n"
        )
        return 2
    wanted = [mutant for mutant in mutants if not options.rows or mutant.row in options.rows]
    if options.changed:
        wanted = changed(root, wanted, marked)
    elif options.stale or not (options.rows or options.all):
        wanted = stale(root, wanted, marked)
    if not wanted:
        sys.stdout.write("no mutant is to be tried\n")
        return 0
    return _try_rows(root, wanted, mutants, options)


def _try_rows(
    root: Path, wanted: Sequence[Mutant], mutants: Sequence[Mutant], options: argparse.Namespace
) -> int:
    marked, on_hosts, verdicts = marked_tests(root), dependents(root, LAB), list[Verdict]()
    until = time.monotonic() + options.seconds if options.seconds else None
    with Scratch(root) as scratch:
        for row in dict.fromkeys(mutant.row for mutant in wanted):
            if until and time.monotonic() > until:
                break
            tests = marked.get(row, ())
            stages = [
                [test for test in tests if test not in on_hosts],
                [test for test in tests if test in on_hosts and not options.no_lab],
            ]
            tried = _try_stages(scratch, stages, [one for one in wanted if one.row == row])
            if options.no_lab and on_hosts & set(tests):
                tried = [verdict for verdict in tried if verdict.verdict in ("killed", "bad")]
            # After each row: an interrupted campaign keeps what it knows.
            keep(root, scratch.root, tried, mutants, marked)
            sys.stdout.write("".join(map(_line, tried)))
            sys.stdout.flush()
            verdicts += tried
    left = len(wanted) - len(verdicts)
    if left:
        sys.stdout.write(f"the time is up: {left} mutants are left for `make campaign`\n")
    sys.stdout.write(f"{_count(verdicts)}\n")
    return 0 if all(verdict.verdict == "killed" for verdict in verdicts) else 1


def _try_stages(
    scratch: Scratch, stages: Sequence[Sequence[str]], mutants: Sequence[Mutant]
) -> list[Verdict]:
    """Hosts are dear: tests that need them see only what the others let pass."""
    verdicts = {mutant: Verdict(mutant, "unproved", "no test carries the row's marker") for mutant in mutants}
    for tests in filter(None, stages):
        left = [one for one, verdict in verdicts.items() if verdict.verdict not in ("killed", "bad")]
        if left:
            verdicts |= {verdict.mutant: verdict for verdict in try_row(scratch, tests, left)}
    return list(verdicts.values())


def _line(verdict: Verdict) -> str:
    mutant = verdict.mutant
    note = f"  {verdict.note}" if verdict.note else ""
    place = mutant.place.rpartition(" ")[2]
    return (
        f"{mutant.row:<7} {place:>3}  {verdict.verdict:<9} {verdict.seconds:6.1f} s  {mutant.file}  "
        f"{mutant.clause!r}{note}\n"
    )


def _count(verdicts: Iterable[Verdict]) -> str:
    counts: dict[str, int] = {}
    for verdict in verdicts:
        counts[verdict.verdict] = counts.get(verdict.verdict, 0) + 1
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items())) or "none was tried"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="requirement rows, such as GTW-05")
    parser.add_argument("--stale", action="store_true", help="of those, only the new and the stale ones")
    parser.add_argument("--changed", action="store_true", help="of those, only killed ones that are stale")
    parser.add_argument("--all", action="store_true", help="all there are")
    parser.add_argument("--no-lab", action="store_true", help="without rows whose tests need a lab of hosts")
    parser.add_argument("--seconds", type=float, help="start with no further row after so long")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
