"""What may lie under ansible/ as it is, and what a variable may say in plain text."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.repository.ansible_tree import plain, read_yaml, tasks

#: All that lies under ansible/: YAML, templates, the versions of Go modules, and programs of the controller.
ANSIBLE_FILES = re.compile(
    r"^ansible/(vault-password|plan)\.sh$|\.(yaml|j2)$|^ansible/roles/\w+/files/\w+/[\d.]+/go\.(mod|sum)$|(^|/)molecule/"
)
#: Where a program, and not a template, makes what is written.
WRITTEN_BY_PROGRAMS = re.compile(
    r"\.(pem|csr|sha256|json|yaml)$|/acl-bootstrap-reset$|/SHA256SUMS$|\{\{ item[.\w]* \}\}$"
)


def rule_configuration_is_templates(root: Path) -> Iterator[str]:
    for path in sorted((root / "ansible").rglob("*")):
        name = str(path.relative_to(root))
        if path.is_file() and not ANSIBLE_FILES.search(name):
            yield f"{name}: make it a template (.j2)"
    for task in tasks(root):
        writes = "content" in task.arguments and task.module.endswith(".copy")
        if writes and not task.of_molecule and task.role:
            dest = str(task.arguments.get("dest"))
            if not WRITTEN_BY_PROGRAMS.search(dest) and dest not in ("{{ cluster_secrets_file }}",):
                yield f"{task.where}: {dest} is written without a template"


#: Where variables get their values.
VARIABLES = (
    "inventory.yaml",
    "group_vars/**/*.yaml",
    "host_vars/**/*.yaml",
    "ansible/roles/*/defaults/*.yaml",
    "ansible/roles/*/vars/*.yaml",
    "ansible/playbooks/vars/*.yaml",
)
#: Names of what nobody but its owner may know.
SECRET_NAME = re.compile(r"(pass(word|wd|phrase)?|secret|token|credential|key)s?$")
#: Where a secret lies, or how it is looked up, may be read by everybody; so may what is empty.
ELSEWHERE = re.compile(r"\{\{|^\$ANSIBLE_VAULT|^(~|\.{0,2}/)|^$")


def rule_variables_hold_no_secrets(root: Path) -> Iterator[str]:
    variables = [*(root / "group_vars").rglob("*.yaml"), *(root / "host_vars").rglob("*.yaml")]
    variables += [
        *(root / "ansible/roles").glob("*/defaults/*.yaml"),
        *(root / "ansible/roles").glob("*/vars/*.yaml"),
    ]
    variables += [*(root / "ansible/playbooks/vars").glob("*.yaml"), root / "inventory.yaml"]
    for path in variables:
        content = plain(read_yaml(path)) if path.exists() else None
        for name, value in _leaves(content):
            if SECRET_NAME.search(name) and isinstance(value, str) and not ELSEWHERE.search(value):
                yield f"{path.relative_to(root)}: {name} is written out; keep it in the vault"


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves(one, str(key))
    elif isinstance(value, list):
        for one in value:
            yield from _leaves(one, name)
    else:
        yield name, value
