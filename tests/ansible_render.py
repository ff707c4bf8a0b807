"""Renders the templates of a role as Ansible would for one host: group_vars, host_vars, defaults and all.

One short run of `ansible-playbook` renders every template of a role for every host of an inventory and is
kept for the session, so that asking for ten templates costs as much as asking for one.
"""

import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from clusterkit.config.environment import environment

ROOT = Path(__file__).resolve().parents[1]

#: What the templates of a host read from facts; a test gives others in `variables["facts"]`.
FACTS = {
    "default_ipv4": {"address": "192.0.2.1", "interface": "eth0"},
    "hostname": "lab",
    "nodename": "lab",
    "architecture": "x86_64",
    "distribution": "Debian",
    "distribution_release": "bookworm",
    "memtotal_mb": 8192,
    "processor_vcpus": 4,
    "interfaces": ["lo", "eth0"],
}
SECRETS = {
    "consul_gossip_key": "gossip-of-consul",
    "consul_management_token": "management-of-consul",
    "nomad_gossip_key": "gossip-of-nomad",
    "nomad_management_token": "management-of-nomad",
    "ca_certificate": "certificate-of-the-site",
    "ca_private_key": "key-of-the-site",
    "tokens": dict.fromkeys(("llama_expert", "moe_gateway", "pipecatapp", "llama_rpc"), "token-of-a-service"),
    "client_key": "key-of-a-client",
    "consul_operator_token": "operator-of-consul",
    "nomad_operator_token": "operator-of-nomad",
    "mqtt_password": "password-of-mqtt",
}
RELEASE = {"name": "0.1.0-0123456789ab", "version": "0.1.0", "release": "0.1.0-0123456789ab"}

THREE_HOSTS = """
all:
  children:
    controllers:
      hosts:
        n1: {ansible_host: 192.0.2.11, host_address: 192.0.2.11, host_interface: eth0}
        n2: {ansible_host: 192.0.2.12, host_address: 192.0.2.12, host_interface: eth0}
        n3: {ansible_host: 192.0.2.13, host_address: 192.0.2.13, host_interface: eth0}
    workers:
      hosts:
        w1: {ansible_host: 192.0.2.21, host_address: 192.0.2.21, host_interface: eth0}
"""


class NotRendered(AssertionError):
    """The template asks for something that nobody defines, or is broken."""


def render(
    role: str,
    template: str,
    inventory: str,
    host: str,
    *,
    variables: Mapping[str, Any] | None = None,
    group_vars: Mapping[str, Mapping[str, Any]] | None = None,
    host_vars: Mapping[str, Mapping[str, Any]] | None = None,
    after: Sequence[str] = (),
    roles: Path = ROOT / "ansible/roles",
) -> str:
    """The text of `ansible/roles/<role>/templates/<template>` on `host`.

    `variables` stand for what a playbook or an including task sets, `group_vars` and `host_vars` for files of
    those folders by name, `after` for the roles that the play runs before, whose defaults are there as well.
    """
    said = {"variables": variables or {}, "group_vars": group_vars or {}, "host_vars": host_vars or {}}
    outcome = _rendered(roles, role, tuple(after), inventory, json.dumps(said, sort_keys=True))[
        host, template
    ]
    if "text" not in outcome:
        raise NotRendered(f"{role}/{template} on {host}: {outcome['error']}")
    return outcome["text"]


def templates_of(role: str, roles: Path = ROOT / "ansible/roles") -> list[str]:
    """The templates of a role, as paths below its folder of templates."""
    folder = roles / role / "templates"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.j2"))


@functools.lru_cache(maxsize=128)
def _rendered(
    roles: Path, role: str, after: tuple[str, ...], inventory: str, said: str
) -> dict[tuple[str, str], dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="hearth-render-") as folder:
        site = Path(folder)
        _lay_out(site, roles, (*after, role), inventory, **json.loads(said))
        done = subprocess.run(
            [str(Path(sys.executable).with_name("ansible-playbook")), "playbook.yaml"],
            cwd=site,
            env=_environment(site),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    try:
        tasks = json.loads(done.stdout[done.stdout.index("{") :])["plays"][0]["tasks"]
    except (ValueError, LookupError):
        raise NotRendered(f"{role}: {done.stdout}{done.stderr}") from None
    return {
        (host, task["task"]["name"].split(" : ")[-1]): _outcome(result)
        for task in tasks
        for host, result in task["hosts"].items()
    }


def _outcome(result: Mapping[str, Any]) -> dict[str, str]:
    message = str(result.get("msg", result))
    return {"error": message} if result.get("failed") else {"text": message}


def _lay_out(
    site: Path,
    roles: Path,
    wanted: Sequence[str],
    inventory: str,
    variables: dict[str, Any],
    group_vars: dict[str, dict[str, Any]],
    host_vars: dict[str, dict[str, Any]],
) -> None:
    """A site whose roles have the real defaults and templates, and for tasks only the rendering."""
    (site / "group_vars").mkdir()
    for ours in (ROOT / "group_vars").iterdir():
        (site / "group_vars" / ours.name).symlink_to(ours)
    (site / "ansible.cfg").touch()
    (site / "inventory.yaml").write_text(inventory)
    for folder, files in (("group_vars", group_vars), ("host_vars", host_vars)):
        for name, values in files.items():
            _write(site / folder / f"{name}.yaml", values)
    _write(site / "controller/secrets.yaml", {**SECRETS, "hosts": _tokens(inventory)})
    _write(site / "controller/wheelhouse/release.yaml", RELEASE)
    role = wanted[-1]
    for name in wanted:
        for part in ("defaults", "vars", "templates"):
            (site / "roles" / name).mkdir(parents=True, exist_ok=True)
            if (roles / name / part).exists():
                (site / "roles" / name / part).symlink_to(roles / name / part)
    if (roles / "nomad_job/templates").exists():  # what job templates import
        (site / "templates").symlink_to(roles / "nomad_job/templates")
    facts = {**FACTS, **variables.pop("facts", {})}
    looked_up = "{{{{ lookup('ansible.builtin.template', {!r}) }}}}"
    _write(
        site / "roles" / role / "tasks/main.yaml",
        [
            {
                "name": template,
                "ansible.builtin.debug": {"msg": looked_up.format(template)},
                "ignore_errors": True,
            }
            for template in templates_of(role, roles)
        ],
    )
    controller = {"controller_dir": str(site / "controller"), "controller_cache_dir": str(site / "cache")}
    play = {
        "hosts": "all",
        "connection": "local",
        "gather_facts": False,
        "vars": {**controller, **variables},
        "pre_tasks": [{"ansible.builtin.set_fact": {**facts, "cacheable": True}}],
        "roles": list(wanted),
    }
    _write(site / "playbook.yaml", [play])


def _tokens(inventory: str) -> dict[str, dict[str, str]]:
    groups = yaml.safe_load(inventory)["all"].get("children", {})
    hosts = [name for group in groups.values() for name in group.get("hosts") or {}]
    return {
        host: {"consul_agent_token": f"agent-token-of-{host}", "nomad_consul_token": f"nomad-token-of-{host}"}
        for host in hosts
    }


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value, sort_keys=False, width=10_000))


def _environment(site: Path) -> dict[str, str]:
    kept = {name: value for name, value in environment().items() if not name.startswith("ANSIBLE_")}
    return {
        **kept,
        "ANSIBLE_CONFIG": str(site / "ansible.cfg"),
        "ANSIBLE_INVENTORY": str(site / "inventory.yaml"),
        "ANSIBLE_ROLES_PATH": str(site / "roles"),
        "ANSIBLE_LOCAL_TEMP": str(site / "tmp"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_DEPRECATION_WARNINGS": "False",
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_NOCOLOR": "1",
    }
