"""The command line itself: what it refuses, and with which exit status."""

import subprocess
import sys
from pathlib import Path

import pytest

from clusterkit.config.environment import environment


def hearth(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hearth", *arguments],
        env={**environment(), "HEARTH_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_a_blank_question_is_refused_before_anybody_is_asked(text: str, tmp_path: Path) -> None:
    done = hearth("ask", text, home=tmp_path)
    assert done.returncode == 2
    assert "the question is blank" in done.stderr
    assert "hearth ask 'What is 6 * 7?'" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", [["ask", "hi"], ["status"]])
def test_what_needs_a_running_hearth_says_how_to_start_one(command: list[str], tmp_path: Path) -> None:
    done = hearth(*command, home=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "error: Hearth is not running; start it with `hearth up`.\n"


def test_stopping_what_does_not_run_is_no_failure(tmp_path: Path) -> None:
    done = hearth("down", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "Hearth was not running.\n")


@pytest.mark.parametrize("arguments", [["--version"], ["--version", "ask"]])
def test_the_version_is_told_wherever_the_option_stands_before_a_command(
    arguments: list[str], tmp_path: Path
) -> None:
    done = hearth(*arguments, home=tmp_path)
    assert done.returncode == 0
    assert done.stdout.count(".") == 2
    assert len(done.stdout.split()) == 1


def test_an_unknown_command_is_a_wrong_command_line(tmp_path: Path) -> None:
    assert hearth("dance", home=tmp_path).returncode == 2
