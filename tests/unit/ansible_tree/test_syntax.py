"""Ansible reads the playbook of the cluster, and every role that it names."""

import subprocess
import sys
from pathlib import Path

import pytest

from clusterkit.config.settings import environment
from tests.ansible_render import ROOT

pytestmark = pytest.mark.timeout(300)


@pytest.mark.req("PRV-01")
def test_the_playbook_passes_the_syntax_check(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("not secret\n")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "--syntax-check", "playbook.yaml"],
        cwd=ROOT,
        env={**environment(), "HEARTH_VAULT_PASSWORD_FILE": str(tmp_path / "password")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
