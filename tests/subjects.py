"""What each kept result is about, as a hash: a result is stale once that has changed.

A Molecule scenario is about its role and the roles that it takes in; a fault case about its own code and all
that makes a cluster; figures about what makes the cluster and their benchmark. The Python packages are in
none: they change daily and have tests of their own.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from tests.mutants.catalogue import read_mutants
from tests.mutants.results import stale
from tests.repository.marks import marked_tests
from tests.repository.rules import files_of

RESULTS = Path("docs/results")
ROLES = Path("ansible/roles")
#: What a role says of itself, not what it does.
DESCRIPTION = re.compile(r"(^|/)(README\.md|meta/argument_specs\.yaml)$")
INCLUDED = ("include_role", "import_role")


def molecule_subject(root: Path, role: str) -> str:
    """The role with its scenarios, and the roles that it takes in without theirs."""
    own = [ROLES / role, Path("ansible/molecule")]
    others = [ROLES / other for other in _roles_within(root, role) - {role}]
    return _hash(root, [*_files(root, own), *_deployed(root, others)])


def fault_subject(root: Path, module: str) -> str:
    """The file with the case (its module's name), what runs cases, and all that makes a cluster."""
    case = Path(module.replace(".", "/")).with_suffix(".py")
    return _hash(root, [*_cluster(root), case, Path("tests/faults/campaign.py")])


def cluster_subject(root: Path) -> str:
    """All that makes a cluster, and the benchmark."""
    return _hash(root, [*_cluster(root), Path("tests/benchmarks/bench_cluster.py")])


def connect_subject(root: Path) -> str:
    """The roles of Consul and its mesh, and the benchmark with its traffic."""
    roles = _roles_within(root, "consul") | _roles_within(root, "consul_connect")
    benchmark = [Path("tests/benchmarks") / name for name in ("bench_connect.py", "connect_traffic.py")]
    return _hash(root, [*_deployed(root, [ROLES / role for role in roles]), *benchmark])


def stale_results(root: Path) -> Iterator[str]:
    """The kept results of which the subject has changed since, one name each."""
    for name, stale_ones in STALE_ONES.items():
        for one in stale_ones(root):
            yield f"{name}: {one}" if one else name


def is_stale(root: Path, results: str) -> bool:
    """Whether anything in this file of results is stale."""
    return results in STALE_ONES and any(True for _ in STALE_ONES[results](root))


def _stale_scenarios(root: Path) -> Iterator[str]:
    for outcome in _read(root, "molecule.json", []):
        if outcome.get("subject") != molecule_subject(root, outcome["role"]):
            yield f"{outcome['role']} ({outcome['scenario']})"


def _stale_faults(root: Path) -> Iterator[str]:
    reports = _read(root, "faults.json", {})
    subjects = {module: fault_subject(root, module) for module in {one["module"] for one in reports.values()}}
    for name, report in reports.items():
        if report.get("subject") != subjects[report["module"]]:
            yield name


def _stale_figures(name: str, subject: Callable[[Path], str], root: Path) -> Iterator[str]:
    kept = _read(root, name, None)
    if kept is not None and kept.get("subject") != subject(root):
        yield ""


def _stale_mutants(root: Path) -> Iterator[str]:
    for mutant in stale(root, read_mutants(root), marked_tests(root)):
        yield mutant.row


#: File of results → what in it is stale; nothing but the file itself where that holds one result.
STALE_ONES: Mapping[str, Callable[[Path], Iterator[str]]] = {
    "molecule.json": _stale_scenarios,
    "faults.json": _stale_faults,
    "cluster.json": partial(_stale_figures, "cluster.json", cluster_subject),
    "connect.json": partial(_stale_figures, "connect.json", connect_subject),
    "mutants.json": _stale_mutants,
}


def _read(root: Path, name: str, default: Any) -> Any:
    path = root / RESULTS / name
    return json.loads(path.read_text()) if path.is_file() else default


def _cluster(root: Path) -> list[Path]:
    folders = (Path("ansible"), Path("group_vars"))
    playbooks = [path for path in files_of(root) if len(path.parts) == 1 and path.suffix == ".yaml"]
    return [*_deployed(root, folders), *(path for path in playbooks if path.name != "compose.yaml")]


def _files(root: Path, folders: Iterable[Path]) -> list[Path]:
    wanted = tuple(folders)
    return [path for path in files_of(root) if any(path.is_relative_to(folder) for folder in wanted)]


def _deployed(root: Path, folders: Iterable[Path]) -> list[Path]:
    """What of these folders acts on hosts: no scenarios."""
    return [path for path in _files(root, folders) if "molecule" not in path.parts]


def _roles_within(root: Path, role: str) -> set[str]:
    within: set[str] = set()
    more = {role}
    while more:
        within |= more
        more = {other for one in more for other in _included(root / ROLES / one)} - within
    return within


def _included(role: Path) -> Iterator[str]:
    for file in [*role.glob("tasks/**/*.yaml"), *role.glob("handlers/*.yaml"), *role.glob("meta/main.yaml")]:
        for name in _role_names(yaml.safe_load(file.read_text())):
            if (role.parent / name).is_dir():
                yield name


def _role_names(tree: Any) -> Iterator[str]:
    if isinstance(tree, list):
        for one in tree:
            yield from _role_names(one)
    if isinstance(tree, dict):
        for key, value in tree.items():
            if str(key).rpartition(".")[2] in INCLUDED and isinstance(value, dict):
                yield str(value.get("name"))
            elif key == "dependencies":
                yield from (str(one.get("role") if isinstance(one, dict) else one) for one in value or ())
            else:
                yield from _role_names(value)


def _hash(root: Path, paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(set(paths)):
        if not DESCRIPTION.search(str(path)):
            digest.update(f"{path}\0".encode() + hashlib.sha256((root / path).read_bytes()).digest())
    return digest.hexdigest()[:16]
