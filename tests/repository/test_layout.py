"""The top level holds what was agreed, and something uses each of it."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AGREED = (
    "ansible",
    "playbook.yaml",
    "heal_cluster.yaml",
    "group_vars",
    "host_vars",
    "pipecatapp",
    "moe_gateway",
    "workflows",
    "tests",
    "e2e-tests.yaml",
)
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
@pytest.mark.parametrize("name", AGREED)
def test_it_exists_and_is_used(name: str) -> None:
    assert (ROOT / name).exists()
    assert users(ROOT, name) != []


@pytest.mark.req("PRV-43")
def test_what_nobody_uses_is_found(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("up:\n\tansible-playbook playbook.yaml\n")
    assert users(tmp_path, "playbook.yaml") == ["Makefile"]
    assert users(tmp_path, "heal_cluster.yaml") == []
