"""A skip that nobody listed fails the run, and a marked test must not be skipped at all."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.strict_skips import LIST, AllowedSkip, allowed_skips, objection

ROOT = Path(__file__).resolve().parents[3]
TESTS = """
import pytest

def test_listed(): pytest.skip("no hosts here")
def test_unlisted(): pytest.skip("no idea")
@pytest.mark.xfail(strict=True)
def test_expected_to_fail(): raise KeyError
@pytest.fixture
def hosts(): pytest.skip("no hosts here")
@pytest.mark.req("TOY-01")
def test_marked(hosts): ...
def test_green(): ...
"""
SKIP_LIST = "- {test: 'test_toy', reason: 'no hosts', why: 'this machine has none'}\n"


def run(folder: Path, *arguments: str, tests: str = TESTS) -> str:
    (folder / "test_toy.py").write_text(tests)
    (folder / "skips.yaml").write_text(SKIP_LIST)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = req(id): a row\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-ra", "-p", "tests.strict_skips", "-p", "no:cacheprovider"),
            *(f"--skip-list={folder / 'skips.yaml'}", *arguments, "test_toy.py"),
        ],
        cwd=folder, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "COLUMNS": "200"}, text=True,
        capture_output=True, check=False, timeout=100,
    )  # fmt: skip
    return done.stdout


def test_only_listed_skips_of_unmarked_tests_pass(tmp_path: Path) -> None:
    told = run(tmp_path, "--strict-skips")
    assert (
        "FAILED test_toy.py::test_unlisted - a skip that skips.yaml does not list: Skipped: no idea" in told
    )
    assert "ERROR test_toy.py::test_marked - a test that proves a requirement is skipped" in told
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed, 1 error" in told


def test_a_module_that_skips_itself_fails_too(tmp_path: Path) -> None:
    text = 'import pytest\npytest.skip("not on this machine", allow_module_level=True)\n'
    assert "a skip that skips.yaml does not list: Skipped: not on this machine" in run(
        tmp_path, "--strict-skips", tests=text
    )


def test_without_the_option_a_skip_is_a_skip(tmp_path: Path) -> None:
    assert "1 passed, 3 skipped, 1 xfailed" in run(tmp_path)


@pytest.mark.parametrize(
    ("test", "reason", "marked", "passes"),
    [
        ("a.py::test_one", "Skipped: no hosts", False, True),
        ("b.py::test_one", "Skipped: no hosts", False, False),
        ("a.py::test_one", "Skipped: something else", False, False),
        ("a.py::test_one", "Skipped: no hosts", True, False),
    ],
)
def test_test_and_reason_must_both_be_listed(test: str, reason: str, marked: bool, passes: bool) -> None:
    allowed = [AllowedSkip("^a", "no hosts", "none here")]
    assert (objection(test, reason, marked=marked, allowed=allowed) is None) == passes


def test_every_entry_of_the_list_says_why_and_speaks_of_a_test_that_there_is() -> None:
    for entry in allowed_skips(LIST):
        assert len(entry.why.split()) > 5
        assert (ROOT / entry.test.replace("\\", "")).is_file()
