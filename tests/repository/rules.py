"""The rules of the repository that no linter knows. Each takes a root folder and yields what breaks it."""

import ast
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from clusterkit.telemetry.redaction import redact_text
from tests.repository.marks import marked_tests, requirements

TOP_LEVEL = set(
    [
        "README.md",
        "ARCHITECTURE.md",
        "API_USAGE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "LICENSE",
        "bootstrap.sh",
        "Makefile",
        "pyproject.toml",
        "locks",
        ".ci",
        ".config",
        "Dockerfile",
        "compose.yaml",
        "ansible.cfg",
        "inventory.yaml",
        "playbook.yaml",
        "heal_cluster.yaml",
        "e2e-tests.yaml",
        "group_vars",
        "host_vars",
        "ansible",
        "clusterkit",
        "llama_expert",
        "moe_gateway",
        "pipecatapp",
        "power_agent",
        "healer",
        "improver",
        "hearth",
        "web",
        "workflows",
        "prompts",
        "tests",
        "docs",
        ".gitignore",
        ".dockerignore",
    ]
)
PACKAGES = (
    "clusterkit",
    "llama_expert",
    "moe_gateway",
    "pipecatapp",
    "power_agent",
    "healer",
    "improver",
    "hearth",
)
FORBIDDEN_NAMES = re.compile(
    r"(^|/)(utils?|helpers?|common|misc|core|manager)(\.py)?(/|$)|_(v\d+|service|legacy|impl)\.py$"
)
#: Takes a root folder and yields what breaks it.
Rule = Callable[[Path], Iterator[str]]
LONGEST_FILE = 400
BIGGEST_FILE_BYTES = 300 * 1024
CODE = (".py", ".sh", ".js", ".ts", ".tsx", ".j2", ".css", ".html")

#: Folders of tools and of what was built; `.venv` alone holds more files than everything else.
SKIPPED = re.compile(
    r"\.git|\.venv|\.cache|__pycache__|node_modules|\.[a-z_]+_cache|\.hypothesis|\.hearth|dist|build"
)
#: Of pytest's monkeypatch: the environment, the working folder, the search path for modules.
MONKEYPATCH = {"setenv", "delenv", "chdir", "syspath_prepend"}
#: Settings and site variables are where ports and names are defined.
DEFINES_NAMES = re.compile(r"(^|/)settings\.py$|^group_vars/all/main\.yaml$")


def every_rule() -> dict[str, Rule]:
    """All rules, by name."""
    return {name.removeprefix("rule_"): rule for name, rule in globals().items() if name.startswith("rule_")}


def files_of(root: Path) -> list[Path]:
    """The files that belong to the repository, as paths relative to `root`."""
    found: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not SKIPPED.fullmatch(name)]
        # In a worktree of git, `.git` is a file.
        found += [Path(folder, name).relative_to(root) for name in names if name != ".git"]
    return sorted(found)


def rule_top_level_is_closed(root: Path) -> Iterator[str]:
    for name in sorted({path.parts[0] for path in files_of(root)} - TOP_LEVEL):
        yield f"{name}: not a name the top level may hold"


def rule_names_say_what_things_are(root: Path) -> Iterator[str]:
    for path in files_of(root):
        if path.suffix == ".py" and FORBIDDEN_NAMES.search(str(path)):
            yield f"{path}: name the thing, not a drawer for things"


def rule_yaml_files_end_in_yaml(root: Path) -> Iterator[str]:
    for path in files_of(root):
        if path.suffix == ".yml" and "molecule" not in path.parts:
            yield f"{path}: call it .yaml"


def rule_files_are_short(root: Path) -> Iterator[str]:
    for path in files_of(root):
        if path.suffix == ".py" and path.parts[0] in PACKAGES:
            lines = len((root / path).read_text().splitlines())
            if lines > LONGEST_FILE:
                yield f"{path}: {lines} lines, {LONGEST_FILE} are allowed"


def rule_files_are_small(root: Path) -> Iterator[str]:
    for path in files_of(root):
        if (root / path).stat().st_size > BIGGEST_FILE_BYTES:
            yield f"{path}: over {BIGGEST_FILE_BYTES} bytes; build or fetch it instead"


def rule_no_python_under_ansible(root: Path) -> Iterator[str]:
    for path in files_of(root):
        if path.parts[0] == "ansible" and path.suffix == ".py" and "molecule" not in path.parts:
            yield f"{path}: Python lives in the packages, Ansible ships the wheel"


def rule_ports_and_names_are_defined_once(root: Path) -> Iterator[str]:
    variables = yaml.safe_load((root / "group_vars/all/main.yaml").read_text())
    ports = sorted(str(value) for name, value in variables.items() if name.endswith("_port"))
    # A name without a hyphen is that of a package and a role as well, which may be named.
    services = [str(v) for name, v in variables.items() if name.endswith("_service") and "-" in str(v)]
    named = [re.escape(service) for service in services if "{" not in service]
    service = re.compile(rf"[\"']({'|'.join(named) or '(?!)'})[\"']")
    port = re.compile(
        rf"(?<![\w.]){'|'.join(map(re.escape, ports))}(?![\w.])".replace("|", r"(?![\w.])|(?<![\w.])")
    )
    prefix = re.compile(rf"[\"']{re.escape(variables['__expert_service_prefix'])}")
    for path in files_of(root):
        shipped = path.parts[0] in (*PACKAGES, "ansible", "workflows") or path.suffix in (".sh", ".j2")
        if not shipped or path.suffix not in (*CODE, ".yaml") or "molecule" in path.parts:
            continue
        if DEFINES_NAMES.search(str(path)):
            continue
        text = (root / path).read_text()
        for number, line in enumerate(text.splitlines(), 1):
            if port.search(line):
                yield f"{path}:{number}: a port number; take it from the settings: {line.strip()}"
            if (prefix.search(line) and not line.startswith("SERVICE_PREFIX")) or service.search(line):
                yield f"{path}:{number}: a service name; take it from the settings: {line.strip()}"


def rule_group_vars_hold_no_secrets(root: Path) -> Iterator[str]:
    looked_up = re.compile(r"lookup\(|vault_|!vault")
    key = re.compile(r"(?i)(password|passwd|secret|token|api_?key|private_?key)\w*\s*:\s*(?P<value>\S.*)$")
    for path in files_of(root):
        if path.parts[0] not in ("group_vars", "host_vars"):
            continue
        for number, line in enumerate((root / path).read_text().splitlines(), 1):
            stated = key.search(line.split(" #")[0])
            # Where a secret lies, and the expression that reads it there, may be known.
            elsewhere = re.search(r"^\w+_(file|dir): .*/", line) or (
                stated is not None and looked_up.search(stated["value"])
            )
            plain = not elsewhere and (stated is not None or redact_text(line) != line)
            hashed = re.search(r"\bsha256: [0-9a-f]{64}$", line)
            looks = re.search(r"(?<![\w/])[A-Za-z0-9+_]{40,}={0,2}(?![\w./])", line) and not hashed
            if plain or looks:
                yield f"{path}:{number}: looks like a secret; keep it in the vault"


def rule_locks_hold_no_addresses(root: Path) -> Iterator[str]:
    for path in (root / "locks").glob("*.txt"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if "://" in line or line.startswith(("--index", "--find-links", "--extra-index", "-i ", "-f ")):
                yield f"{path.relative_to(root)}:{number}: an address"
        if "--hash=sha256:" not in path.read_text():
            yield f"{path.relative_to(root)}: no hashes"


def rule_every_public_thing_says_what_it_is(root: Path) -> Iterator[str]:
    """Module docstrings of packages; ruff checks the rest."""
    for path in files_of(root):
        ours = path.suffix == ".py" and path.parts[0] in PACKAGES and "versions" not in path.parts
        if ours and ast.get_docstring(ast.parse((root / path).read_text())) is None:
            yield f"{path}: no module docstring"


def rule_every_marked_requirement_exists(root: Path) -> Iterator[str]:
    known = {row["id"] for row in requirements(root)}
    for requirement, tests in marked_tests(root).items():
        if requirement not in known:
            yield f"{', '.join(tests)}: there is no requirement {requirement}"


def rule_tests_patch_no_attributes(root: Path) -> Iterator[str]:
    """A test may change what the program runs in (`MONKEYPATCH`), not the program."""
    used = re.compile(r"\bmonkeypatch\.(\w+)")
    for path in files_of(root):
        if path.parts[0] == "tests" and path.suffix == ".py" and path.name != "test_repository.py":
            for number, line in enumerate((root / path).read_text().splitlines(), 1):
                for name in set(used.findall(line)) - MONKEYPATCH:
                    yield f"{path}:{number}: monkeypatch.{name}; allowed are {', '.join(sorted(MONKEYPATCH))}"


def rule_no_file_names_a_place_on_one_machine(root: Path) -> Iterator[str]:
    private = re.compile(r"(?<![\w.~])/(root|home/\w+|Users/\w+)/")
    for path in files_of(root):
        if path.suffix in (*CODE, ".md", ".yaml", ".toml", ".txt", ".json") and path.parts[0] != "tests":
            for number, line in enumerate((root / path).read_text().splitlines(), 1):
                if private.search(line):
                    yield f"{path}:{number}: a place on somebody's machine: {line.strip()[:80]}"
