"""`bootstrap.sh` says what it would do, what it does not know, and what the machine lacks."""

import subprocess
from pathlib import Path

from clusterkit.config.environment import environment

ROOT = Path(__file__).resolve().parents[2]


def bootstrap(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "bootstrap.sh"), *arguments],
        env={**environment(), **extra},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_is_shown() -> None:
    done = bootstrap("--help")
    assert done.returncode == 0
    for flag in ("--run-local", "--install-only", "--dev", "--help"):
        assert flag in done.stdout


def test_an_unknown_flag_is_refused_with_the_usage() -> None:
    done = bootstrap("--fast")
    assert done.returncode == 2
    assert "unknown argument: --fast" in done.stderr
    assert "Usage:" in done.stderr


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    """With neither apt-get nor setpriv to be found, the person is told exactly what to run."""
    for program in ("bash", "dirname", "id", "grep", "cat", "python3", "ldconfig", "env"):
        found = subprocess.run(["which", program], capture_output=True, text=True, check=False).stdout.strip()
        if found:
            (tmp_path / program).symlink_to(found)
    done = bootstrap("--install-only", PATH=str(tmp_path))
    assert done.returncode == 3
    assert "util-linux" in done.stderr
    assert "sudo apt-get install" in done.stderr
