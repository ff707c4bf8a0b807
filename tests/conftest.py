"""A whole Hearth for the tests that need one, wherever they are: one that runs is started once for all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.houses import House, end_house, make_house
from tests.lab import Lab, LabUnavailable, own_name
from tests.lab.cluster import Cluster
from tests.lab.engine import ensure_engine
from tests.lab.timings import Timings
from tests.slowest_files import pytest_configure
from tests.strict_skips import pytest_addoption, pytest_make_collect_report, pytest_runtest_makereport
from tests.watched_run import pytest_sessionstart, pytest_unconfigure

__all__ = [
    "pytest_addoption",
    "pytest_configure",
    "pytest_make_collect_report",
    "pytest_runtest_makereport",
    "pytest_sessionstart",
    "pytest_unconfigure",
]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A Hearth that does not run yet; stopped afterwards."""
    made = make_house(tmp_path / "hearth")
    yield made
    end_house(made)


@pytest.fixture(scope="session")
def running_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A running Hearth that tests share; they must leave it as they found it."""
    made = make_house(tmp_path_factory.mktemp("running") / "hearth")
    started = made.hearth("up", "--detach")
    assert started.returncode == 0, started.stdout + started.stderr
    yield made
    end_house(made)


@pytest.fixture(scope="session")
def lab_engine() -> None:
    """What labs stand on; skips, loudly, where the machine lacks it."""
    try:
        ensure_engine()
    except LabUnavailable as error:
        pytest.skip(f"NO LAB ON THIS MACHINE: {error}")


@pytest.fixture(scope="session")
def timings(request: pytest.FixtureRequest) -> Iterator[Timings]:
    """Figures of the cluster, printed when all tests are through."""
    noted = Timings()
    yield noted
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and noted.figures:
        reporter.section("the cluster took")
        for line in noted.lines():
            reporter.write_line(line)


@pytest.fixture(scope="session")
def converged_lab(lab_engine: None, timings: Timings) -> Iterator[Cluster]:
    """Three hosts that `playbook.yaml` turned into Hearth; tests leave it as healthy as they found it."""
    with Lab(own_name("e2e"), hosts=3) as lab:
        yield Cluster.form(lab, timings)
