"""The reference pages of the cluster, from the files that define its roles, playbooks and variables."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from docs.tables import NOTE, table
from tests.repository.ansible_tree import plain, playbooks, plays, read_yaml, roles, roles_of

SECTION = re.compile(r"^# --- (?P<name>.+?) -+$")
VARIABLE = re.compile(r"^(?P<name>[a-z_]+): ?(?P<value>.*)$")


def roles_page(root: Path) -> str:
    """Every role with its variables, from its argument_specs."""
    parts = [
        NOTE,
        "# Roles\n",
        "What each role takes. Set a variable in `group_vars/`, or in `host_vars/<host>.yaml` for one host; "
        "a value that a play gives wins over both.\n",
    ]
    for role in roles(root):
        for entry, spec in _entry_points(role).items():
            title = role.name if entry == "main" else f"{role.name}: {entry}"
            parts.append(f"## {title}\n\n{_sentence(spec)}\n")
            cells = [_option(name, option) for name, option in (spec.get("options") or {}).items()]
            parts.append(
                _table_or("Takes no variables.\n", ("variable", "type", "default", "meaning"), cells)
            )
    return "\n".join(parts)


def _entry_points(role: Path) -> dict[str, Any]:
    specs = role / "meta/argument_specs.yaml"
    return (plain(read_yaml(specs)) or {}).get("argument_specs", {}) if specs.exists() else {}


def _sentence(spec: Mapping[str, Any]) -> str:
    sentences = [_words(spec.get(key, "")) for key in ("short_description", "description")]
    return "\n\n".join(one if one.endswith((".", ":")) else f"{one}." for one in sentences if one)


def _words(text: str | list[str]) -> str:
    return " ".join(" ".join(text).split()) if isinstance(text, list) else " ".join(text.split())


def _option(name: str, option: Mapping[str, Any]) -> tuple[str, str, str, str]:
    default = "required" if option.get("required") else _shown(option.get("default"))
    kind = str(option.get("type", "str"))
    kind = f"list of {option['elements']}" if kind == "list" and "elements" in option else kind
    choices = f" One of: {', '.join(f'`{one}`' for one in option['choices'])}." if "choices" in option else ""
    return f"`{name}`", kind, default, _words(option.get("description", "")) + choices


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return "" if value is None else f"`{' '.join(text.split()) or ' '}`"


def playbooks_page(root: Path) -> str:
    """Every playbook: what its head says, and what it runs where."""
    parts = [
        NOTE,
        "# Playbooks\n",
        "Run them from the repository's root with `.venv/bin/ansible-playbook`; the inventory is "
        "`inventory.yaml` unless `-i` names another. `--check --diff` shows what would change.\n",
    ]
    for path in playbooks(root):
        name = path.relative_to(root)
        parts.append(f"## {name}\n\n{head_of(path)}\n")
        cells = [
            (_words(str(play.get("name", ""))), f"`{play['hosts']}`", _listed(roles_of(path, play)))
            for play in plays(path)
            if "hosts" in play
        ]
        parts.append(_table_or("", ("play", "hosts", "roles"), cells))
    return "\n".join(parts)


def head_of(playbook: Path) -> str:
    """The comment at the top of a playbook: its paragraphs, and its indented lines as code."""
    lines = []
    for line in playbook.read_text().splitlines():
        if not line.startswith(("#", "---")):
            break
        lines += [line.removeprefix("#").removeprefix(" ")] if line.startswith("#") else []
    parts = []
    for is_code, group in groupby(lines, lambda line: line.startswith("  ")):
        text = list(group)
        code = ["```", *(line.strip() for line in text), "```"]
        parts.append("\n".join(code if is_code else text).strip())
    return "\n\n".join(one for one in parts if one)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def site_variables_page(root: Path) -> str:
    """Everything of group_vars/all, section by section, with the comments that stand there."""
    parts = [
        NOTE,
        "# Site variables\n",
        "What all hosts share, from `group_vars/all/`. A nearer value wins: defaults of a role < "
        "`group_vars/all/` < `group_vars/<group>.yaml` < `host_vars/<host>.yaml` < `--extra-vars`.\n",
    ]
    for path in sorted((root / "group_vars/all").glob("*.yaml")):
        if path.name == "models.yaml":  # described by its own schema
            continue
        parts.append(f"## {path.relative_to(root)}\n")
        parts += _sections(path.read_text())
    return "\n".join(parts)


def _sections(text: str) -> Iterable[str]:
    comment: list[str] = []
    cells: list[tuple[str, str]] = []
    for line in [*text.splitlines(), ""]:
        section, variable = SECTION.match(line), VARIABLE.match(line)
        if variable:
            if comment:
                yield from _flush(cells)
                yield " ".join(comment) + "\n"
                comment = []
            cells.append((f"`{variable['name']}`", f"`{variable['value'] or '…'}`"))
        elif line.startswith("#") and not section:
            comment.append(line.lstrip("# "))
        elif section or not line.strip():
            yield from _flush(cells)
            if comment:
                yield " ".join(comment) + "\n"
                comment = []
            if section:
                yield f"### {section['name'].strip()}\n"
    yield from _flush(cells)


def _flush(cells: list[tuple[str, str]]) -> Iterable[str]:
    if cells:
        yield table(("variable", "value"), cells)
        cells.clear()


def _table_or(otherwise: str, heads: tuple[str, ...], cells: Sequence[tuple[str, ...]]) -> str:
    return table(heads, cells) if cells else otherwise
