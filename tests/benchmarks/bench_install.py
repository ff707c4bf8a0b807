"""From a fresh clone to the first answer, with empty and with warm package caches."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clusterkit.config.environment import environment
from tests.servers.free_ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {"empty": 120.0, "warm": 30.0}  #: seconds
QUESTION = "What is the capital of France?"


def main() -> None:
    """Print the seconds of both, and their share of the target."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        for state, target in TARGETS.items():
            clone = Path(folder) / f"clone-{state}"
            took, answer = _first_answer(clone, cache)
            sys.stdout.write(
                f"fresh clone to first answer, {state} caches: {took:6.1f} s "
                f"(target {target:.0f} s, ratio {took / target:.2f}); it said: {answer!r}\n"
            )


def _first_answer(clone: Path, cache: Path) -> tuple[float, str]:
    gateway, agent = free_ports(2)
    told = {
        **environment(),
        "UV_CACHE_DIR": str(cache),
        "HEARTH_HOME": str(clone / "home"),
        "MOE_GATEWAY_PORT": str(gateway),
        "PIPECATAPP_PORT": str(agent),
    }
    told.pop("VIRTUAL_ENV", None)
    began = time.monotonic()
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    try:
        subprocess.run(
            ["./bootstrap.sh"], cwd=clone, env=told, check=True, stdout=subprocess.DEVNULL, timeout=900
        )
        asked = subprocess.run(
            [".venv/bin/hearth", "ask", QUESTION],
            cwd=clone,
            env=told,
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return time.monotonic() - began, " ".join(asked.stdout.split())[:80]
    finally:
        hearth = clone / ".venv" / "bin" / "hearth"
        if os.access(hearth, os.X_OK):
            subprocess.run([hearth, "down"], env=told, check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(clone, ignore_errors=True)
