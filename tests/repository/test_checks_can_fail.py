"""`make check` is worth something: each of its tools fails on a planted violation."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PACKAGES = ("clusterkit", "llama_expert", "moe_gateway", "pipecatapp", "hearth")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the packages, with the configuration of the tools."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    return tmp_path


def contracts(tree: Path) -> subprocess.CompletedProcess[str]:
    # An empty user site and no editable install: the copy is what is looked at.
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c(['--no-cache'])"],
        cwd=tree,
        env={"PYTHONPATH": str(tree), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_import_contracts_hold(tree: Path) -> None:
    done = contracts(tree)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line"),
    [
        pytest.param("moe_gateway/routing.py", "import llama_expert.choose", id="deployables are strangers"),
        pytest.param("clusterkit/clock.py", "import moe_gateway.routing", id="the library imports nobody"),
        pytest.param("moe_gateway/routing.py", "import httpx", id="a decider does no I/O"),
        pytest.param(
            "llama_expert/choose.py", "import clusterkit.storage.database", id="not even indirectly"
        ),
        pytest.param(
            "pipecatapp/workflow/schedule.py", "import pipecatapp.runs.runner", id="imports point down"
        ),
        pytest.param("pipecatapp/turns/turns.py", "import fastapi", id="a turn knows no framework"),
        pytest.param("pipecatapp/workflow/engine.py", "import asyncio", id="a decider starts no task"),
        pytest.param("pipecatapp/drawer/__init__.py", '"""A new folder."""', id="a new folder has a place"),
    ],
)
def test_a_planted_import_breaks_a_contract(tree: Path, file: str, line: str) -> None:
    path = tree / file
    path.parent.mkdir(exist_ok=True)
    text = path.read_text() if path.exists() else ""
    path.write_text(f"{text}\n{line}\n")
    done = contracts(tree)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout or "not listed" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("import requests\n", "TID251"),
        ("import os\n\nprint(os.environ)\n", "TID251"),
        ("from unittest.mock import Mock\n\nMock()\n", "TID251"),
        ("import time\n\ntime.sleep(1)\n", "TID251"),
        ("try:\n    x = 1\nexcept Exception:\n    x = 2\n", "BLE001"),
        ("def a():\n    return 1\n\n\ndef a():\n    return 2\n", "F811"),
        ("async def a():\n    return open('x')\n", "ASYNC230"),
        ("def a():\n    return 1\n", "D103"),
    ],
)
def test_ruff_finds_a_planted_violation(tmp_path: Path, code: str, rule: str) -> None:
    (tmp_path / "planted.py").write_text(f'"""A planted violation."""\n\n{code}')
    done = subprocess.run(
        [str(BIN / "ruff"), "check", "--no-cache", "--config", str(ROOT / "pyproject.toml"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert rule in done.stdout


def test_mypy_finds_a_planted_violation(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("def untyped(x):\n    return x\n")
    done = subprocess.run(
        [
            str(BIN / "mypy"),
            "--config-file",
            str(ROOT / "pyproject.toml"),
            "--cache-dir",
            str(tmp_path),
            str(planted),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no-untyped-def" in done.stdout


@pytest.fixture
def role(tmp_path: Path) -> Path:
    """A role that breaks what ansible-lint knows, beside the configuration of the real tree."""
    shutil.copytree(ROOT / ".config", tmp_path / ".config")
    tasks = tmp_path / "ansible/roles/planted/tasks"
    tasks.mkdir(parents=True)
    (tasks / "main.yaml").write_text(
        "- name: Run\n  ansible.builtin.shell: ls\n"
        "- name: Short\n  debug:\n    msg: x\n"
        "- name: Open\n  ansible.builtin.copy:\n    content: x\n    dest: /x\n"
    )
    return tmp_path


@pytest.mark.req("PRV-13")
def test_ansible_lint_finds_a_planted_violation(role: Path) -> None:
    done = subprocess.run(
        [str(BIN / "ansible-lint"), "--nocolor", "--parseable", "ansible/roles/planted"],
        cwd=role,
        env={"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(role)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    for rule in ("no-changed-when", "command-instead-of-shell", "fqcn", "risky-file-permissions"):
        assert rule in done.stdout


def test_the_syntax_check_finds_a_planted_violation(tmp_path: Path) -> None:
    (tmp_path / "playbook.yaml").write_text("- hosts: all\n  tasks: [{nosuch.module.anywhere: {}}]\n")
    done = subprocess.run(
        [str(BIN / "ansible-playbook"), "--syntax-check", "--inventory", "localhost,", "playbook.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "nosuch.module.anywhere" in done.stderr
