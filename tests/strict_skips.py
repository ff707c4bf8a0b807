"""`--strict-skips`: a skipped test fails, but for those that `tests/skips.yaml` lists with a reason.

A test that carries a requirement's marker is never listed: skipped, it proves nothing.
"""

import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

LIST = Path(__file__).with_name("skips.yaml")
OPTION = "--strict-skips"


@dataclass(frozen=True)
class AllowedSkip:
    """Tests whose node id and reason match these patterns may be skipped, because of `why`."""

    test: str
    reason: str
    why: str


def allowed_skips(path: Path = LIST) -> list[AllowedSkip]:
    """What the list holds."""
    return [AllowedSkip(**entry) for entry in yaml.safe_load(path.read_text()) or []]


def objection(test: str, reason: str, *, marked: bool, allowed: list[AllowedSkip]) -> str | None:
    """Why the skip of this test fails the run; None where it may be."""
    if marked:
        return f"a test that proves a requirement is skipped: {reason}"
    if any(re.search(one.test, test) and re.search(one.reason, reason) for one in allowed):
        return None
    return f"a skip that {LIST.name} does not list: {reason}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        OPTION, action="store_true", help="fail on every skip that is not listed with its reason"
    )
    parser.addoption("--skip-list", type=Path, default=LIST, help="the list (default: %(default)s)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # An expected failure reports itself as skipped too.
    if report.skipped and not hasattr(report, "wasxfail"):
        _judge(report, item.config, marked=item.get_closest_marker("req") is not None)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        _judge(report, collector.config, marked=False)
    return report


def _judge(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config, *, marked: bool) -> None:
    if not config.getoption(OPTION):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    problem = objection(
        report.nodeid, reason, marked=marked, allowed=allowed_skips(config.getoption("--skip-list"))
    )
    if problem:
        report.outcome = "failed"
        report.longrepr = problem
