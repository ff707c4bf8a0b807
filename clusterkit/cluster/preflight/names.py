"""The names of variables that a site may set, and those that anything reads."""

import re
from dataclasses import dataclass
from pathlib import Path

#: At the left margin a variable is defined, which is no use of it.
DEFINITION = re.compile(r"^([a-z_0-9]+):", re.MULTILINE)
OPTION = re.compile(r"^      ([a-z0-9_]+):$", re.MULTILINE)
WORD = re.compile(r"[a-z_][a-z0-9_]+")
SOURCES = {".yaml", ".yml", ".j2"}


@dataclass(frozen=True)
class SiteVariables:
    """`settable` are meant for people; what is only `read` passes, and is never proposed."""

    settable: frozenset[str]
    read: frozenset[str]


def names_in(root: Path) -> SiteVariables:
    """The names in the Ansible tree of `root`: in its roles, ansible/playbooks and group_vars/all."""
    settable: set[str] = set()
    read: set[str] = set()
    for folder in (root / "ansible", root / "group_vars/all"):
        for path in sorted(folder.rglob("*")):
            if path.suffix not in SOURCES or "molecule" in path.parts:
                continue
            text = path.read_text()
            read |= set(WORD.findall(DEFINITION.sub("", text)))
            if path.name == "argument_specs.yaml":
                settable |= set(OPTION.findall(text))
            elif path.parent == root / "group_vars/all":
                settable |= set(DEFINITION.findall(text))
    return SiteVariables(frozenset(name for name in settable if not name.startswith("__")), frozenset(read))
