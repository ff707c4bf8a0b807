"""A result is stale once what it is about has changed, and only then."""

import json
from pathlib import Path

import pytest

from docs.figures import STALE, page_with_figures
from tests.subjects import (
    cluster_subject,
    connect_subject,
    fault_subject,
    molecule_subject,
    stale_results,
)

TREE = {
    "ansible/molecule/config.yml": "a",
    "ansible/roles/web/tasks/main.yaml": "- ansible.builtin.include_role: {name: files}",
    "ansible/roles/web/molecule/default/verify.yml": "a",
    "ansible/roles/web/meta/argument_specs.yaml": "a",
    "ansible/roles/web/meta/main.yaml": "dependencies: []",
    "ansible/roles/files/tasks/main.yaml": "[]",
    "ansible/roles/files/molecule/default/verify.yml": "a",
    "ansible/roles/consul/tasks/main.yaml": "[]",
    "ansible/roles/consul_connect/meta/main.yaml": "dependencies: [{role: files}]",
    "ansible/roles/other/tasks/main.yaml": "[]",
    "group_vars/all/main.yaml": "a: 1",
    "playbook.yaml": "[]",
    "tests/faults/campaign.py": "a",
    "tests/faults/disks.py": "a",
    "tests/faults/jobs.py": "a",
    "tests/benchmarks/bench_cluster.py": "a",
    "tests/benchmarks/bench_connect.py": "a",
    "tests/benchmarks/connect_traffic.py": "a",
    "docs/requirements.csv": "id,area,feature,works_when\n",
    "docs/cluster.md": "<!-- figures: from docs/results/cluster.json -->\n<!-- end of figures -->\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with a fresh result of everything."""
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    results = tmp_path / "docs/results"
    results.mkdir()
    role = {"role": "web", "scenario": "default", "subject": molecule_subject(tmp_path, "web")}
    disks = {"module": "tests.faults.disks", "subject": fault_subject(tmp_path, "tests.faults.disks")}
    for name, kept in {
        "molecule": [role],
        "faults": {"disk_full": disks},
        "cluster": {"figures": [{"case": "a"}], "subject": cluster_subject(tmp_path)},
        "connect": {"figures": [], "subject": connect_subject(tmp_path)},
    }.items():
        (results / f"{name}.json").write_text(json.dumps(kept))
    return tmp_path


WEB, FAULT, CLUSTER, CONNECT = (
    "molecule.json: web (default)", "faults.json: disk_full", "cluster.json", "connect.json"
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        ("ansible/roles/web/tasks/main.yaml", {WEB, FAULT, CLUSTER}),
        ("ansible/roles/web/molecule/default/verify.yml", {WEB}),
        ("ansible/molecule/config.yml", {WEB}),
        ("ansible/roles/files/tasks/main.yaml", {WEB, FAULT, CLUSTER, CONNECT}),
        ("ansible/roles/files/molecule/default/verify.yml", set()),
        ("ansible/roles/web/meta/argument_specs.yaml", set()),
        ("ansible/roles/other/tasks/main.yaml", {FAULT, CLUSTER}),
        ("group_vars/all/main.yaml", {FAULT, CLUSTER}),
        ("playbook.yaml", {FAULT, CLUSTER}),
        ("tests/faults/disks.py", {FAULT}),
        ("tests/faults/jobs.py", set()),
        ("tests/benchmarks/bench_cluster.py", {CLUSTER}),
        ("tests/benchmarks/connect_traffic.py", {CONNECT}),
    ],
)
def test_a_change_makes_stale_what_is_about_it(tree: Path, changed: str, stale: set[str]) -> None:
    assert set(stale_results(tree)) == set()
    text = (tree / changed).read_text()
    (tree / changed).write_text(f"{text}\n# changed\n")
    assert set(stale_results(tree)) == stale


def test_a_result_without_a_hash_is_stale(tree: Path) -> None:
    (tree / "docs/results/cluster.json").write_text('{"figures": []}')
    assert list(stale_results(tree)) == ["cluster.json"]


def test_the_page_with_stale_figures_says_so(tree: Path) -> None:
    assert STALE not in page_with_figures(tree, "docs/cluster.md")
    (tree / "playbook.yaml").write_text("- {}\n")
    assert STALE in page_with_figures(tree, "docs/cluster.md")
