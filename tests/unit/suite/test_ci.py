"""What CI runs is everything: no option, path or setting leaves tests out."""

import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
#: All that pytest may be given where all tests are run: nothing of it chooses among them.
OPTIONS = {"--strict-skips", "--strict-config", "--strict-markers", "-ra", "--import-mode=importlib"}
#: Folders that are not looked into: minutes for each of the playbooks, and nothing of ours in the others.
LEFT_OUT = {".*", "build", "dist", "node_modules", "playbooks"}


@pytest.mark.req("WFE-01")
def test_ci_runs_all_tests_without_a_choice_among_them(pytestconfig: pytest.Config) -> None:
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == "exec make test"
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "test"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    commands = [shlex.split(line) for line in done.stdout.splitlines() if "/pytest " in line]
    whole = [options for _, *options in commands if "tests/repository" not in options]
    assert len(whole) == 1
    assert set(whole[0]) <= OPTIONS
    assert set(pytestconfig.getini("addopts")) <= OPTIONS
    assert pytestconfig.getini("testpaths") == ["tests"]
    assert set(pytestconfig.getini("norecursedirs")) <= LEFT_OUT
