"""Who runs what, and in which order: one launcher a service, one owner a job, no root without a password."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.repository.ansible_tree import (
    Task,
    plain,
    playbooks,
    plays,
    read_yaml,
    roles_in_order,
    roles_of,
    tasks,
    templates,
    text_of,
)
from tests.repository.rules import files_of

#: What a script may do with a job: not say what it is.
WITH_A_JOB = ("start", "status", "stop")
OBSOLETE = ("debian_service", "initial-setup")
#: The requirement itself, and the tests of this rule.
TELLS_OF_OBSOLETE = re.compile(
    r"^docs/(requirements\.csv|reference/requirements\.md|results/mutants\.json)$"
    r"|^tests/(repository/(test_ansible_rules|cluster_rules)\.py|mutants/PRV\.yaml)$"
)
ORDER = (
    "preflight_checks",
    "consul",
    "nomad",
    "wheel",
    "llama_cpp",
    "bootstrap_agent",
    "pipecatapp",
    "moe_gateway",
)
#: Playbooks that change no host, and may run on those of any site.
CHANGE_NO_HOST = ("e2e-tests.yaml", "release.yaml")
#: Modules, and parts of other roles, that change nothing.
HARMLESS = (
    "ansible.builtin.assert",
    "ansible.builtin.fail",
    "ansible.builtin.meta",
    "ansible.builtin.ping",
    "ansible.builtin.setup",
)
ONLY_LOOKS = (("cluster_secrets", "same_site"),)
MAC_ADDRESS = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
PRIMARY = re.compile(r"^controllers\[0\]$|groups\[?\.?['\"]?controllers['\"]?\]?\s*(\[0\]|\|\s*first)")


def rule_every_job_has_one_owner(root: Path) -> Iterator[str]:
    owners: dict[str, list[str]] = {}
    for task in tasks(root):
        if task.of_molecule:
            continue
        if task.included_role == "nomad_job" and not task.arguments.get("tasks_from"):
            owners.setdefault(str((task.fields.get("vars") or {}).get("nomad_job_id")), []).append(task.where)
        elif task.role != "nomad_job" and _submits_job(task):
            yield f"{task.where}: jobs are submitted by the role nomad_job"
    for job, places in owners.items():
        if job == "None":
            yield from (f"{place}: includes nomad_job without nomad_job_id" for place in places)
        elif len(places) > 1:
            yield f"{', '.join(places)}: all own the job {job}"
    yield from _jobs_without_owner(root)
    for path in [*templates(root), *root.glob("*.sh"), *(root / "ansible").glob("*.sh"), root / "Makefile"]:
        text = path.read_text() if path.exists() else ""
        for found in re.findall(r"\bnomad\S*\s+(?:job\s+(\S+)|run\b)", text):
            if found not in WITH_A_JOB:
                yield f"{path.relative_to(root)}: jobs are submitted by the role nomad_job"


def _jobs_without_owner(root: Path) -> Iterator[str]:
    """Each template of a job is submitted by one task, under whatever id."""
    owners: dict[str, list[str]] = {}
    for task in tasks(root):
        if (
            task.included_role == "nomad_job"
            and not task.of_molecule
            and not task.arguments.get("tasks_from")
        ):
            template = (task.fields.get("vars") or {}).get("nomad_job_template")
            owners.setdefault(str(template), []).append(task.where)
    for path in templates(root):
        places = owners.get(path.name, [])
        if path.name.endswith(".nomad.j2") and "molecule" not in path.parts and len(places) != 1:
            yield f"{path.relative_to(root)}: one task submits it, not {', '.join(places) or 'none'}"


def _submits_job(task: Task) -> bool:
    said = text_of(task.arguments)
    writes = str(task.arguments.get("method", "GET")).upper() in ("POST", "PUT")
    to_jobs = re.search(r"/v1/jobs?(/[^/ ]+)?(['\" ?]|$)", str(task.arguments.get("url", "")))
    by_program = task.runs_program and re.search(r"\bjob[ ,\n-]+['\"]?run\b", said)
    return bool((writes and to_jobs) or by_program or task.module.endswith(".nomad_job"))


def rule_nobody_gets_sudo_without_a_password(root: Path) -> Iterator[str]:
    for path in templates(root):
        if "NOPASSWD" in path.read_text():
            yield f"{path.relative_to(root)}: NOPASSWD"
    for task in tasks(root):
        written = [task.arguments.get(key) for key in ("content", "line", "block", "nopassword")]
        if task.of_molecule:
            continue
        if "NOPASSWD" in text_of(written) or task.arguments.get("nopassword") is True:
            yield f"{task.where}: NOPASSWD"


def rule_the_playbook_runs_the_roles_in_order(root: Path) -> Iterator[str]:
    path = root / "playbook.yaml"
    if not path.exists():
        return
    order = roles_in_order(path)
    yield from (f"playbook.yaml: runs no {role}" for role in ORDER if role not in order)
    places = [order.index(role) for role in ORDER if role in order]
    if places != sorted(places):
        yield f"playbook.yaml: wants {' < '.join(ORDER)}, has {', '.join(order)}"


def rule_preflight_comes_first(root: Path) -> Iterator[str]:
    """The first two plays look at the inventory and at the hosts, whatever tags are wanted."""
    path = root / "playbook.yaml"
    if not path.exists():
        return
    for number, play in enumerate(plays(path)[:2], 1):
        own = [task for part in ("pre_tasks", "tasks", "post_tasks") for task in play.get(part) or []]
        listed = [one.get("role") if isinstance(one, dict) else one for one in play.get("roles") or []]
        looks = "preflight_checks" in roles_of(path, play)
        if set(listed) - {"preflight_checks"} or not looks or not all(_is_preflight(task) for task in own):
            yield f"playbook.yaml: play {number} is preflight_checks and nothing else"
        if play.get("tags") not in ("always", ["always"]) or "when" in str(own):
            yield f"playbook.yaml: play {number} is left out at times"


def _is_preflight(task: dict[str, Any]) -> bool:
    inside = Task(Path("playbook.yaml"), task)
    role = (inside.included_role, str(inside.arguments.get("tasks_from", "main")))
    return role[0] == "preflight_checks" or role in ONLY_LOOKS or inside.module in HARMLESS


def rule_every_playbook_sees_whose_hosts_they_are(root: Path) -> Iterator[str]:
    """Hosts that carry another site's cluster are refused before the first task that could change one."""
    for path in playbooks(root):
        name = path.relative_to(root)
        if path.name in CHANGE_NO_HOST or not (touching := list(_plays_on_hosts(path))):
            continue
        for task in _tasks_in_order(*touching[0]):
            if task.included_role == "cluster_secrets" and task.arguments.get("tasks_from") == "same_site":
                break
            if task.module not in HARMLESS:
                yield f"{name}: {task.fields.get('name', task.module)} comes before cluster_secrets/same_site"
                break
        else:
            yield f"{name}: its first play on hosts does not see whose they are (cluster_secrets/same_site)"


def _plays_on_hosts(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for play in plays(path):
        if "ansible.builtin.import_playbook" in play:
            yield from _plays_on_hosts(path.parent / play["ansible.builtin.import_playbook"])
        elif play.get("hosts") != "localhost":
            yield path, play


def _tasks_in_order(path: Path, play: dict[str, Any]) -> Iterator[Task]:
    listed = [one for one in roles_of(path, {"roles": play.get("roles")})]
    roles = [{"name": role, "ansible.builtin.import_role": {"name": role}} for role in listed]
    for one in [*(play.get("pre_tasks") or []), *roles, *(play.get("tasks") or [])]:
        task = Task(path, one)
        if task.module == "ansible.builtin.import_tasks":
            yield from (Task(path, inner) for inner in read_yaml(path.parent / str(task.arguments["_raw"])))
        else:
            yield task


def rule_healing_starts_the_agent_on_the_primary(root: Path) -> Iterator[str]:
    path = root / "heal_cluster.yaml"
    if not path.exists():
        return
    order = roles_in_order(path)
    if len(plays(path)) != 1 or not PRIMARY.search(str(plays(path)[0].get("hosts"))):
        yield "heal_cluster.yaml: is one play, on the first controller"
    if [role for role in order if role in ("bootstrap_agent", "pipecatapp")] != [
        "bootstrap_agent",
        "pipecatapp",
    ]:
        yield f"heal_cluster.yaml: wants bootstrap_agent then pipecatapp, has {', '.join(order)}"


def rule_obsolete_folders_are_gone(root: Path) -> Iterator[str]:
    for name in OBSOLETE:
        yield from (f"{path.relative_to(root)}: is obsolete" for path in root.glob(f"**/{name}"))
        for path in files_of(root):
            if not TELLS_OF_OBSOLETE.search(str(path)) and name in (root / path).read_text(errors="replace"):
                yield f"{path}: refers to {name}"


def rule_service_names_are_variables(root: Path) -> Iterator[str]:
    site = yaml.safe_load((root / "group_vars/all/main.yaml").read_text())
    names = [
        str(value) for name, value in site.items() if name.endswith("_service") and "_" not in str(value)
    ]
    # A name that is also the name of a package or role means those, too.
    told = [name for name in names if not (root / "ansible/roles" / name).exists() and "{" not in name]
    literal = re.compile(rf"[\"'/]({'|'.join(map(re.escape, told))})[\"'/]")
    for path in [*(root / "ansible").rglob("*.yaml"), *templates(root)]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if told and literal.search(line) and "molecule" not in path.parts:
                yield f"{path.relative_to(root)}:{number}: a service name, not its variable: {line.strip()}"


def rule_hosts_with_power_management_have_a_mac_address(root: Path) -> Iterator[str]:
    default = _yaml(root / "group_vars/all/main.yaml").get("host_power_managed", False)
    for host, values in _hosts(_yaml(root / "inventory.yaml").get("all") or {}).items():
        known = {**values, **_yaml(root / f"host_vars/{host}.yaml")}
        mac = str(known.get("host_mac_address", ""))
        if known.get("host_power_managed", default) and not MAC_ADDRESS.fullmatch(mac):
            yield f"{host}: has power management and no valid host_mac_address: {mac!r}"


def _hosts(group: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every host below a group of the inventory, with what is said of it there."""
    found = {
        host: {**(group.get("vars") or {}), **(said or {})}
        for host, said in (group.get("hosts") or {}).items()
    }
    for child in (group.get("children") or {}).values():
        for host, said in _hosts(child or {}).items():
            found[host] = {**found.get(host, {}), **said}
    return found


def _yaml(path: Path) -> dict[str, Any]:
    return plain(read_yaml(path)) or {} if path.exists() else {}
