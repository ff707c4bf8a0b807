"""Ansible reads the playbooks and every role that they name."""

import subprocess
import sys
from pathlib import Path

import pytest

from clusterkit.config.environment import environment
from tests.ansible_render import ROOT


@pytest.mark.req("GTW-01", "PRV-01")
@pytest.mark.timeout(300)
def test_ansible_reads_the_playbook_with_all_of_its_roles(tmp_path: Path) -> None:
    variables = {"ANSIBLE_VAULT_PASSWORD_FILE": str(tmp_path / "password"), "ANSIBLE_NOCOLOR": "1"}
    (tmp_path / "password").write_text("any\n")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "--syntax-check", "playbook.yaml"],
        cwd=ROOT,
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
