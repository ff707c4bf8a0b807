"""The top level holds what was agreed, and something uses each of it."""

import re
from pathlib import Path

import pytest

from tests.repository.marks import requirements
from tests.repository.rules import TOP_LEVEL

ROOT = Path(__file__).resolve().parents[2]
#: What the top level holds → the file that uses it, and how.
USES = {
    "ansible": ("ansible.cfg", r"^roles_path = ansible/roles$"),
    "playbook.yaml": ("Makefile", r"^playbooks = (\S+ )*playbook\.yaml\b"),
    "heal_cluster.yaml": ("Makefile", r"^playbooks = (\S+ )*heal_cluster\.yaml\b"),
    "group_vars": ("hearth/one_machine/layout.py", r'"group_vars" / "all" / "models\.yaml"'),
    "host_vars": (
        "ansible/roles/host_facts/defaults/main.yaml",
        r'^host_facts_dir: "{{ inventory_dir }}/host_vars"$',
    ),
    "pipecatapp": ("pyproject.toml", r'^\[tool\.hatch\.build\.targets\.wheel\]\npackages = .*"pipecatapp"'),
    "moe_gateway": ("pyproject.toml", r'^\[tool\.hatch\.build\.targets\.wheel\]\npackages = .*"moe_gateway"'),
    "workflows": ("pyproject.toml", r'^"workflows" = "hearth/data/workflows"$'),
    "tests": ("pyproject.toml", r'^testpaths = \["tests"\]$'),
    "e2e-tests.yaml": ("tests/e2e/test_cluster.py", r'\.ansible\("e2e-tests\.yaml"\)\.expect_success'),
}
#: Files that make something happen; documents do not count as use.
ACTS = ("Makefile", "ansible.cfg", "pyproject.toml", "*.sh", "ansible/**/*.yaml", "*/*.py", "tests/**/*.py")


def users(root: Path, name: str) -> list[str]:
    """Everything that acts and names it, but for what lies in it and this test."""
    found = {path for pattern in ACTS for path in root.glob(pattern) if path.is_file()}
    return sorted(
        str(path.relative_to(root))
        for path in found
        if path.relative_to(root).parts[0] != name
        and path != Path(__file__)
        and name in path.read_text(errors="replace")
    )


@pytest.mark.req("PRV-43")
def test_the_top_level_is_the_one_that_was_agreed() -> None:
    (row,) = [row for row in requirements(ROOT) if row["id"] == "PRV-43"]
    assert re.findall(r"`([^`]+)`", row["works_when"]) == list(USES)
    assert set(USES) <= TOP_LEVEL


@pytest.mark.req("PRV-43")
@pytest.mark.parametrize("name", USES)
def test_it_exists_and_is_used(name: str) -> None:
    file, use = USES[name]
    assert (ROOT / name).exists()
    assert users(ROOT, name) != []
    assert re.search(use, (ROOT / file).read_text(), re.MULTILINE), f"{file} uses {name} no more"


@pytest.mark.req("PRV-43")
def test_what_nobody_uses_is_found(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("up:\n\tansible-playbook playbook.yaml\n")
    assert users(tmp_path, "playbook.yaml") == ["Makefile"]
    assert users(tmp_path, "heal_cluster.yaml") == []
