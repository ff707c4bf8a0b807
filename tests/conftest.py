"""A whole Hearth for the tests that need one, wherever they are: one that runs is started once for all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.houses import House, end_house, make_house


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
