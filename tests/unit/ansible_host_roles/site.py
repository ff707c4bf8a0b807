"""A site of its own in a temporary folder, on which roles are played without any host but this machine."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clusterkit.config.environment import environment

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent


@dataclass
class Site:
    """Inventory, group_vars of the repository, and a controller folder."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "group_vars").mkdir(parents=True)
        for ours in (ROOT / "group_vars").iterdir():
            (self.folder / "group_vars" / ours.name).symlink_to(ours)
        (self.folder / "vault-password").write_text("not a secret")
        self.inventory({"controllers": {"n1": {}}})

    def inventory(self, groups: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the hosts, by group; every host is this machine unless it says otherwise."""
        children = {
            group: {"hosts": {host: dict(told) for host, told in hosts.items()}}
            for group, hosts in groups.items()
        }
        everything = {"all": {"vars": {"ansible_python_interpreter": sys.executable}, "children": children}}
        (self.folder / "inventory.yaml").write_text(yaml.safe_dump(everything, sort_keys=False))

    def play(self, play: Mapping[str, Any], *arguments: str, path: str = "", **variables: Any) -> "Played":
        """Run one play; `variables` win over everything, `path` goes before the PATH."""
        (self.folder / "playbook.yaml").write_text(yaml.safe_dump([dict(play)], sort_keys=False))
        told = {
            "controller_dir": str(self.folder / "controller"),
            "controller_cache_dir": str(self.folder / "cache"),
            **variables,
        }
        kept = {name: value for name, value in environment().items() if not name.startswith("ANSIBLE_")}
        done = subprocess.run(
            [
                str(BIN / "ansible-playbook"),
                f"--inventory={self.folder / 'inventory.yaml'}",
                f"--extra-vars={yaml.safe_dump(told, default_flow_style=True, width=100_000)}",
                *arguments,
                str(self.folder / "playbook.yaml"),
            ],
            env={
                **kept,
                "PATH": f"{path}:{BIN}:{kept.get('PATH', '')}".removeprefix(":"),
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_ROLES_PATH": str(ROOT / "ansible/roles"),
                "ANSIBLE_VAULT_PASSWORD_FILE": str(self.folder / "vault-password"),
                "ANSIBLE_NOCOLOR": "1",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        return Played(done.returncode, done.stdout + done.stderr)


@dataclass(frozen=True)
class Played:
    """What came of a play."""

    returncode: int
    output: str

    @property
    def changes(self) -> list[str]:
        """The tasks that changed something."""
        found, task = [], ""
        for line in self.output.splitlines():
            if line.startswith(("TASK [", "RUNNING HANDLER [")):
                task = line.split("[", 1)[1].rsplit("]", 1)[0].split(" : ")[-1]
            if line.startswith("changed: "):
                found.append(task)
        return found

    def expect_success(self) -> "Played":
        """Itself, or an error with what was said."""
        assert self.returncode == 0, self.output[-6000:]
        return self
