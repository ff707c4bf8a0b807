"""Runs the marked tests of a row in a scratch copy, and says what they made of a mutant."""

import os
import signal
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.mutants.catalogue import Mutant, mutated
from tests.mutants.scratch import Scratch

#: An unchanged row may take this long: some form a cluster.
LONGEST_S = 2 * 3600
#: A mutant may take so many times what the unchanged row took, and this on top.
PATIENCE = 5
GRACE_S = 60.0
#: Pytest's status when tests could not be collected or it was interrupted.
TESTS_RAN = (0, 1)


@dataclass(frozen=True)
class RowRun:
    """What became of the marked tests of one row, in one state of the tree."""

    passed: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    #: Why nothing can be concluded: the tests were not collected, or pytest itself failed.
    broken: str = ""
    timed_out: bool = False
    seconds: float = 0.0
    slowest_s: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """`killed`: a marked test saw it; `survived`: all stayed green; `bad`: no test can judge it;
    `unproved`: the tests are not green, or are skipped, without it."""

    mutant: Mutant
    verdict: str
    note: str = ""
    seconds: float = field(default=0.0, compare=False)


def try_row(scratch: Scratch, tests: Sequence[str], mutants: Sequence[Mutant]) -> list[Verdict]:
    """Try all mutants of one row, whose marked tests are `tests` (node ids of pytest)."""
    unchanged = run_tests(scratch, tests)
    problem = _not_green(unchanged)
    if problem:
        return [Verdict(mutant, "unproved", problem) for mutant in mutants]
    return [try_mutant(scratch, tests, mutant, unchanged) for mutant in mutants]


def try_mutant(
    scratch: Scratch, tests: Sequence[str], mutant: Mutant, unchanged: RowRun, grace_s: float = GRACE_S
) -> Verdict:
    """Apply one mutant, run the row's tests until one fails, and take it back."""
    text = mutated((scratch.root / mutant.file).read_text(), mutant)
    with scratch.changed(mutant.file, text):
        run = run_tests(
            scratch,
            tests,
            limit_s=grace_s + PATIENCE * unchanged.seconds,
            test_limit_s=grace_s + PATIENCE * unchanged.slowest_s,
            until_one_fails=True,
        )
    if run.broken:
        return Verdict(mutant, "bad", run.broken, run.seconds)
    if run.timed_out:
        return Verdict(mutant, "killed", "timeout", run.seconds)
    if run.failed:
        return Verdict(mutant, "killed", run.failed[0], run.seconds)
    if run.skipped:
        return Verdict(mutant, "bad", f"with it, {run.skipped[0]} is skipped", run.seconds)
    return Verdict(mutant, "survived", "", run.seconds)


def run_tests(
    scratch: Scratch,
    tests: Sequence[str],
    *,
    limit_s: float = LONGEST_S,
    test_limit_s: float | None = None,
    until_one_fails: bool = False,
) -> RowRun:
    """Run these tests in the copy, all for at most `limit_s`, each for at most `test_limit_s` seconds."""
    report = scratch.folder / "report.xml"
    report.unlink(missing_ok=True)
    argv = [
        *(str(scratch.python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line"),
        *(f"--junitxml={report}", f"--basetemp={scratch.folder / 'tests'}"),
        *([f"--timeout={test_limit_s:.0f}"] if test_limit_s else []),
        *(["--maxfail=1"] if until_one_fails else []),
        *tests,
    ]
    with (scratch.folder / "output").open("w+") as output:
        process = subprocess.Popen(
            argv, cwd=scratch.root, env=scratch.environment(), stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            status = process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            return RowRun(timed_out=True, seconds=limit_s)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            scratch.end_processes()
        output.seek(0)
        last = output.read().strip()[-400:]
    if status not in TESTS_RAN or not report.is_file():
        return RowRun(broken=f"pytest ended with {status}: {last}")
    return _read_report(report)


def _read_report(report: Path) -> RowRun:
    # Written a moment ago by the pytest that was started here.
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    outcomes: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}
    broken, timed_out, slowest = "", False, 0.0
    for case in suite.iter("testcase"):
        name = f"{case.get('classname', '')}.{case.get('name', '')}"
        slowest = max(slowest, float(case.get("time", 0)))
        red = [*case.findall("failure"), *case.findall("error")]
        messages = [one.get("message", "") for one in red]
        if "collection failure" in messages:
            broken = f"{name}: not collected: {(red[0].text or '').strip()[-300:]}"
        timed_out = timed_out or any("Timeout (>" in message for message in messages)
        kind = "failed" if red else "skipped" if case.find("skipped") is not None else "passed"
        outcomes[kind].append(name)
    return RowRun(
        tuple(outcomes["passed"]), tuple(outcomes["failed"]), tuple(outcomes["skipped"]),
        broken, timed_out, float(suite.get("time", 0)), slowest,
    )  # fmt: skip


def _not_green(run: RowRun) -> str:
    if run.broken:
        return f"without it: {run.broken}"
    if run.timed_out:
        return f"without it, the tests are not through after {run.seconds:.0f} s"
    if run.failed:
        return f"without it, {run.failed[0]} fails"
    if run.skipped:
        return f"{run.skipped[0]} is skipped: a skipped test proves nothing"
    return "" if run.passed else "no test ran"
