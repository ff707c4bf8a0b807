"""Reads the Ansible tree without running it: roles, playbooks, and every task with its file and line."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

#: What a task may carry besides its module.
KEYWORDS = frozenset((
    "action", "any_errors_fatal", "args", "async", "become", "become_exe", "become_flags",
    "become_method", "become_user", "changed_when", "check_mode", "collections", "connection",
    "debugger", "delay", "delegate_facts", "delegate_to", "diff", "environment", "failed_when",
    "ignore_errors", "ignore_unreachable", "local_action", "loop", "loop_control", "module_defaults",
    "name", "no_log", "notify", "poll", "port", "register", "remote_user", "retries", "run_once",
    "tags", "throttle", "timeout", "until", "vars", "when", "listen", "block", "rescue", "always",
    "with_items", "with_dict", "with_fileglob", "with_first_found", "with_together", "with_sequence",
    "with_subelements",
))  # fmt: skip
#: What a block hands down to the tasks inside it.
INHERITED = ("no_log", "check_mode", "diff", "delegate_to", "run_once", "vars", "become", "when")
RUNS_PROGRAMS = ("command", "shell", "raw", "script", "expect")
INCLUDES_ROLE = ("ansible.builtin.include_role", "ansible.builtin.import_role")
#: The path of another role's tasks: how a handler takes them, which cannot include a role.
TASKS_OF_ROLE = re.compile(r"/\.\./(?P<role>\w+)/tasks/")
ROOT_PLAYBOOKS = ("playbook.yaml", "heal_cluster.yaml", "e2e-tests.yaml")


class _Loader(yaml.CSafeLoader):
    """Plain YAML, with the line of each mapping and with Ansible's own tags read as text."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        made = super().construct_mapping(node, deep=deep)
        made["__line__"] = node.start_mark.line + 1
        return made


def _as_text(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


for _tag in ("!vault", "!unsafe", "!vault-encrypted"):
    _Loader.add_constructor(_tag, _as_text)


def read_yaml(path: Path) -> Any:
    """The file's content; mappings have their line as `__line__`."""
    return yaml.load(path.read_text(), Loader=_Loader)


def plain(value: Any) -> Any:
    """The same without the lines."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if key != "__line__"}
    return [plain(one) for one in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Task:
    """One task, with what its blocks hand down to it."""

    path: Path  #: below the repository's root
    fields: Mapping[str, Any]

    @property
    def line(self) -> int:
        return int(self.fields["__line__"])

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}"

    @property
    def role(self) -> str | None:
        return self.path.parts[2] if self.path.parts[:2] == ("ansible", "roles") else None

    @property
    def of_molecule(self) -> bool:
        return "molecule" in self.path.parts

    @property
    def module(self) -> str:
        names = [name for name in self.fields if name not in KEYWORDS and name != "__line__"]
        return names[0] if names else ""

    @property
    def arguments(self) -> Mapping[str, Any]:
        given = self.fields.get(self.module)
        found = given if isinstance(given, dict) else {"_raw": given}
        return {**found, **(self.fields.get("args") or {})}

    @property
    def runs_program(self) -> bool:
        return self.module.removeprefix("ansible.builtin.") in RUNS_PROGRAMS

    @property
    def included_role(self) -> str | None:
        if self.module in INCLUDES_ROLE:
            return str(self.arguments.get("name"))
        by_path = TASKS_OF_ROLE.search(str(self.arguments.get("_raw")))
        return by_path["role"] if by_path and self.module.endswith(".include_tasks") else None


def roles(root: Path) -> list[Path]:
    """The folder of every role."""
    folder = root / "ansible/roles"
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.exists() else []


def playbooks(root: Path) -> list[Path]:
    """Every playbook that people run."""
    found = [root / name for name in ROOT_PLAYBOOKS if (root / name).exists()]
    return found + sorted((root / "ansible/playbooks").glob("*.yaml"))


def yaml_files(root: Path) -> list[Path]:
    """Every YAML file of the Ansible tree, site variables included."""
    found = [root / "inventory.yaml", *playbooks(root)]
    for folder in ("ansible", "group_vars", "host_vars"):
        found += [*(root / folder).rglob("*.yaml"), *(root / folder).rglob("*.yml")]
    return sorted({path for path in found if path.exists()})


def templates(root: Path) -> list[Path]:
    """Every template under ansible/."""
    return sorted((root / "ansible").rglob("*.j2"))


def tasks(root: Path) -> Iterator[Task]:
    """Every task of every role, playbook and Molecule scenario; blocks are taken apart."""
    folders = [role / part for role in roles(root) for part in ("tasks", "handlers")]
    for folder in [*folders, root / "ansible/playbooks/tasks"]:
        for path in sorted(folder.rglob("*.yaml")):
            yield from _tasks(path.relative_to(root), read_yaml(path) or [], {})
    scenarios = sorted((root / "ansible").rglob("molecule/**/*.yml"))
    for path in [*playbooks(root), *scenarios]:
        for play in plays(path):
            for part in ("pre_tasks", "tasks", "post_tasks", "handlers"):
                yield from _tasks(path.relative_to(root), play.get(part) or [], {})


def plays(path: Path) -> list[dict[str, Any]]:
    """The plays of a playbook; nothing for a YAML file that is none."""
    content = read_yaml(path)
    return [play for play in content if isinstance(play, dict)] if isinstance(content, list) else []


def _tasks(path: Path, listed: list[dict[str, Any]], handed_down: Mapping[str, Any]) -> Iterator[Task]:
    for one in listed:
        inside = [one[part] for part in ("block", "rescue", "always") if part in one]
        own_vars = {**(handed_down.get("vars") or {}), **(one.get("vars") or {})}
        fields = {**handed_down, **one, **({"vars": own_vars} if own_vars else {})}
        if not inside:
            yield Task(path, fields)
        for part in inside:
            yield from _tasks(path, part, {key: fields[key] for key in INHERITED if key in fields})


def roles_in_order(path: Path) -> list[str]:
    """The roles that a playbook runs, in the order in which it runs them."""
    return [role for play in plays(path) for role in roles_of(path, play)]


def roles_of(path: Path, play: dict[str, Any]) -> list[str]:
    """The roles of one play of the playbook at `path`."""
    if "ansible.builtin.import_playbook" in play:
        return roles_in_order(path.parent / play["ansible.builtin.import_playbook"])
    listed = [
        str(one.get("role", one.get("name"))) if isinstance(one, dict) else one
        for one in play.get("roles") or []
    ]
    before, after = _included(path, play.get("pre_tasks")), _included(path, play.get("tasks"))
    return before + listed + after + _included(path, play.get("post_tasks"))


def _included(path: Path, given: list[dict[str, Any]] | None) -> list[str]:
    return [task.included_role for task in _tasks(path, given or [], {}) if task.included_role]


def text_of(value: Any) -> str:
    """Everything that a value says, as one text to search in."""
    return re.sub(r"\s+", " ", yaml.safe_dump(plain(value), width=100_000, sort_keys=False))
