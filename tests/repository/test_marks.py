"""The tool that reads markers and fixtures from the source sees all of them."""

from pathlib import Path

from tests.repository.fixtures import dependents
from tests.repository.marks import marked_tests

MODULE = """
import pytest
pytestmark = [pytest.mark.timeout(3), pytest.mark.req("TOY-01")]

def helper(): ...

@pytest.mark.req("TOY-02", "TOY-01")
async def test_one(lab_of_three): ...

@pytest.mark.req("TOY-03")
class TestMany:
    @pytest.mark.req("TOY-04")
    def test_two(self, quiet): ...
    @pytest.mark.usefixtures("lab_of_three")
    def test_three(self): ...

def test_four(hidden): ...
"""
CONFTEST = """
import pytest

@pytest.fixture
def lab_of_three(lab): ...

@pytest.fixture()
def hidden(lab_of_three): ...

def quiet(lab): "no fixture"
"""


def planted(root: Path, module: str = MODULE) -> Path:
    (root / "tests/near").mkdir(parents=True)
    (root / "tests/conftest.py").write_text(CONFTEST)
    (root / "tests/near/test_toy.py").write_text(module)
    return root


def test_marks_of_functions_classes_and_modules_are_read(tmp_path: Path) -> None:
    here = "tests/near/test_toy.py"
    assert marked_tests(planted(tmp_path)) == {
        "TOY-01": [f"{here}::test_one", f"{here}::TestMany", f"{here}::test_four"],
        "TOY-02": [f"{here}::test_one"],
        "TOY-03": [f"{here}::TestMany"],
        "TOY-04": [f"{here}::TestMany::test_two"],
    }


def test_a_single_mark_of_a_module_is_read(tmp_path: Path) -> None:
    text = 'import pytest\npytestmark = pytest.mark.req("TOY-01")\ndef test_it(): ...\n'
    assert marked_tests(planted(tmp_path, text)) == {"TOY-01": ["tests/near/test_toy.py::test_it"]}


def test_what_stands_on_a_fixture_is_known_also_through_others(tmp_path: Path) -> None:
    names = {test.rpartition("test_toy.py::")[2] for test in dependents(planted(tmp_path), "lab")}
    assert names == {"test_one", "TestMany", "TestMany::test_three", "test_four"}


def test_the_nearest_fixture_of_a_name_counts(tmp_path: Path) -> None:
    text = f"{MODULE}\n@pytest.fixture\ndef hidden(): ...\n"
    tests = dependents(planted(tmp_path, text), "lab")
    assert "tests/near/test_toy.py::test_four" not in tests
