"""What systemd may start, as whom, and why as root: Nomad runs Hearth's services, so the list is short."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.repository.ansible_rules import options_of
from tests.repository.ansible_tree import Task, tasks, text_of
from tests.repository.rules import files_of


@dataclass(frozen=True)
class Unit:
    """A unit that a host may run."""

    user: str  #: as our template says it; of Debian's own units, as Debian says it
    starts: tuple[str, ...] = ()  #: the only programs in our template; none for a unit of Debian's
    why_root: str = ""


UNITS = {
    "consul": Unit("{{ consul_user }}", ("/usr/local/bin/consul", "/bin/kill")),
    "nomad": Unit(
        "root",
        ("/usr/local/bin/nomad", "/bin/kill"),
        "it starts each task as the task's own user, and makes its folders and control groups",
    ),
    "hearth-firewall": Unit("root", ("/usr/sbin/nft",), "the kernel takes packet rules from root alone"),
    "docker": Unit("root", (), "it makes the namespaces of containers"),
    "systemd-timesyncd": Unit("systemd-timesync"),
    "prometheus-node-exporter": Unit("prometheus"),
}
UNIT_FILE = re.compile(r"\.(service|timer|socket|path)(\.j2)?$")
STARTS = re.compile(r"^\s*Exec\w+\s*=\s*[-@:+!|]*(?P<program>\S+)", re.M)
UNIT_TEXT = re.compile(r"\[(Service|Timer|Socket)\]|\bExec(Start|Stop|Reload)\w*\s*=")
#: They speak of units and start none.
SILENT = re.compile(r"^(tests|docs)/|(^|/)molecule/|\.(md|csv)$")


def rule_no_unit_starts_what_nomad_runs(root: Path) -> Iterator[str]:
    for path in files_of(root):
        if SILENT.search(str(path)):
            continue
        text = (root / path).read_text(errors="replace")
        if not UNIT_FILE.search(path.name) and not UNIT_TEXT.search(text):
            continue
        unit = UNITS.get(_unit(path.name))
        if unit is None or not UNIT_FILE.search(path.name):
            yield f"{path}: a unit that is not in tests/repository/unit_rules.py"
            continue
        for found in STARTS.finditer(text):
            if found["program"] not in unit.starts:
                yield f"{path}: starts {found['program']}; the unit may start {', '.join(unit.starts)}"
    for task in tasks(root):
        # A scenario may set the stage with what a role has to remove.
        if not task.of_molecule:
            yield from _launches(root, task)


def _launches(root: Path, task: Task) -> Iterator[str]:
    if task.module.endswith((".cron", ".at")):
        yield f"{task.where}: a second launcher; Nomad runs services"
    if UNIT_TEXT.search(text_of(task.arguments)):
        yield f"{task.where}: a unit outside of a template"
    if not task.module.endswith((".systemd", ".systemd_service", ".service", ".sysvinit", ".runit")):
        return
    name = str(task.arguments.get("name", ""))
    rests = task.arguments.get("state", "stopped") == "stopped"
    enabled = task.arguments.get("enabled") not in (None, False, "false", "no")
    for started in _choices(root, task, name) if enabled or not rests else ():
        if _unit(started) not in UNITS:
            yield f"{task.where}: starts {started}, which is not in tests/repository/unit_rules.py"


def _choices(root: Path, task: Task, name: str) -> list[str]:
    """The name itself; of one that a variable of the role gives, all that the role lets it be."""
    variable = re.fullmatch(r"\{\{ (\w+) \}\}", name)
    if variable is None or task.role is None:
        return [name]
    option = options_of(root / "ansible/roles" / task.role).get(variable[1], {})
    return [str(one) for one in option.get("choices", [name])]


def rule_units_run_as_users_of_their_own(root: Path) -> Iterator[str]:
    """Each as the user that it is listed with; as root only for a reason."""
    for path in files_of(root):
        unit = UNITS.get(_unit(path.name))
        if SILENT.search(str(path)) or not UNIT_FILE.search(path.name) or unit is None:
            continue
        users = re.findall(r"^User\s*=\s*(.+?)\s*$", (root / path).read_text(), re.M) or ["root"]
        if users != [unit.user]:
            yield f"{path}: runs as {', '.join(users)}; it is to be {unit.user}"


def _unit(name: str) -> str:
    return UNIT_FILE.sub("", name)
