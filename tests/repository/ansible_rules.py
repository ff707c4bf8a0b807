"""The rules of the Ansible tree that ansible-lint does not know. Each takes a root, yields breaches."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.repository.ansible_tree import (
    Task,
    plain,
    playbooks,
    plays,
    read_yaml,
    roles,
    tasks,
    templates,
    text_of,
    yaml_files,
)
from tests.repository.commands_allowed import COMMANDS

WHOLE_ROLE = (
    "defaults/main.yaml",
    "meta/argument_specs.yaml",
    "meta/main.yaml",
    "tasks/main.yaml",
    "molecule/default/molecule.yml",
    "molecule/default/converge.yml",
    "molecule/default/verify.yml",
)
#: Ansible's own variables; any other `ansible_x` is a fact that is injected only by an old default.
MAGIC = re.compile(
    r"(facts|managed|host|user|port|connection|password|(python|playbook)_\w+|(ssh|become|winrm)_\w+|\w+_interpreter"
    r"|check_mode|diff_mode|version|verbosity|forks|limit|run_tags|skip_tags|search_path|config_file"
    r"|inventory_sources|play_\w+|role_\w+|parent_role_\w+|dependent_role_names|loop|loop_var|index_var|failed_\w+"
    r"|collection_name|shell_\w+|remote_tmp|common_\w+|control_path|pipelining|managed_\w+)\b"
)
#: Values of host_vars/<host>.yaml that were only just written and count at once, under their own names.
WRITTEN_JUST_NOW = {("host_facts", "{{ item.key }}")}
FACT = re.compile(r"(?<![\w./-])ansible_(?=[a-z])(?P<name>\w+)")
#: Ansible's own variables that are worked out anew inside each role.
BOUND_BY_THE_ROLE = (
    "role_path",
    "role_name",
    "ansible_role_name",
    "ansible_parent_role_names",
    "ansible_parent_role_paths",
    "ansible_collection_name",
    "ansible_search_path",
)
#: The one value among the secrets that everybody may read.
NOT_SECRET = r"(?!\.ca_certificate|\[.ca_certificate)"


def rule_every_role_is_whole(root: Path) -> Iterator[str]:
    for role in roles(root):
        for part in WHOLE_ROLE:
            if not (role / part).exists():
                yield f"{role.relative_to(root)}: no {part}"


def rule_every_scenario_runs_twice_and_verifies(root: Path) -> Iterator[str]:
    """What says nothing about its sequence has Molecule's own, in which both are."""
    shared = root / "ansible/molecule/config.yml"
    for path in [*sorted((root / "ansible").rglob("molecule.yml")), *([shared] if shared.exists() else [])]:
        sequence = ((plain(read_yaml(path)) or {}).get("scenario") or {}).get("test_sequence")
        for step in ("converge", "idempotence", "verify"):
            if sequence is not None and step not in sequence:
                yield f"{path.relative_to(root)}: leaves out {step}"


def rule_every_scenarios_last_run_passed(root: Path) -> Iterator[str]:
    """`make molecule` keeps what became of each; a scenario without a result was never run."""
    kept = json.loads((root / "docs/results/molecule.json").read_text())
    results = {(run["role"], run["scenario"]): run["result"] for run in kept}
    there = {
        (path.parents[2].name, path.parent.name)
        for path in (root / "ansible/roles").glob("*/molecule/*/molecule.yml")
    }
    for role, scenario in sorted(there | results.keys()):
        result = results.get((role, scenario), "never run") if (role, scenario) in there else "gone"
        if result != "passed":
            yield f"{role} ({scenario}): {result}"


def rule_argument_specs_and_defaults_agree(root: Path) -> Iterator[str]:
    for role in roles(root):
        if not all((role / part).exists() for part in ("defaults/main.yaml", "meta/argument_specs.yaml")):
            continue
        name, defaults = role.name, plain(read_yaml(role / "defaults/main.yaml")) or {}
        specified = options_of(role)
        for variable in sorted(defaults.keys() - specified.keys()):
            yield f"{name}: {variable} has a default and is not in argument_specs"
        for variable, option in specified.items():
            if ("default" in option) != (variable in defaults):
                lacks = "defaults/main.yaml" if "default" in option else "argument_specs"
                yield f"{name}: the default of {variable} is missing in {lacks}"
            elif option.get("default") != defaults.get(variable):
                yield f"{name}: {variable}: {defaults[variable]!r}, argument_specs: {option['default']!r}"
            if not option.get("description"):
                yield f"{name}: {variable} has no description"


def options_of(role: Path) -> dict[str, dict[str, Any]]:
    """Every variable that a role takes, over all of its entry points."""
    specs = (plain(read_yaml(role / "meta/argument_specs.yaml")) or {}).get("argument_specs") or {}
    return {name: option for entry in specs.values() for name, option in (entry.get("options") or {}).items()}


def rule_variables_carry_their_roles_name(root: Path) -> Iterator[str]:
    for role in roles(root):
        for part in ("defaults/main.yaml", "vars/main.yaml"):
            for variable in plain(read_yaml(role / part)) or {} if (role / part).exists() else {}:
                if not variable.startswith((f"{role.name}_", f"__{role.name}_")):
                    yield f"{role.relative_to(root)}/{part}: {variable} does not start with {role.name}_"
    for task in tasks(root):
        if task.role is None or task.of_molecule:
            continue
        internal = (f"__{task.role}_",)
        allowed = (f"{task.role}_", *internal, *_prefixes_of(task))
        named = [name for name in task.fields.get("vars") or {} if name != "__line__"]
        yield from (f"{task.where}: variable {name}" for name in named if not name.startswith(allowed))
        made = [task.fields["register"]] if "register" in task.fields else []
        if task.module == "ansible.builtin.set_fact":
            made += [name for name in task.arguments if name not in ("__line__", "cacheable")]
        made = [name for name in made if (task.role, name) not in WRITTEN_JUST_NOW]
        yield from (
            f"{task.where}: {name} is not __{task.role}_…" for name in made if not name.startswith(internal)
        )


def _prefixes_of(task: Task) -> tuple[str, ...]:
    return (f"{task.included_role}_",) if task.included_role else ()


def rule_modules_have_full_names(root: Path) -> Iterator[str]:
    for task in tasks(root):
        if task.module.count(".") < 2:
            yield f"{task.where}: {task.module or 'no module'}: write the full name"


def rule_lookups_have_full_names(root: Path) -> Iterator[str]:
    short = re.compile(r"\b(?:lookup|query|q)\(\s*['\"][a-z_]+['\"]")
    for path in [*yaml_files(root), *templates(root)]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if short.search(line):
                yield f"{path.relative_to(root)}:{number}: {line.strip()}"


def rule_no_fact_is_taken_from_an_injected_variable(root: Path) -> Iterator[str]:
    for path in [*yaml_files(root), *templates(root)]:
        if path.name in ("molecule.yml", "config.yml"):  # Molecule's own words begin like that, too
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for found in FACT.finditer(line.split(" # ")[0]):
                if not MAGIC.match(found["name"]):
                    yield f"{path.relative_to(root)}:{number}: {found[0]}: take it from ansible_facts"


def rule_programs_say_when_they_change_something(root: Path) -> Iterator[str]:
    for task in tasks(root):
        if not task.runs_program:
            continue
        known = {"creates", "removes"} & task.arguments.keys() or "changed_when" in task.fields
        if task.module.endswith(".raw") or not known:
            yield f"{task.where}: {task.module} without creates, removes or changed_when"


def rule_programs_are_run_where_no_module_does_it(root: Path) -> Iterator[str]:
    for key, where in programs_run(root).items():
        if key not in COMMANDS:
            yield f"{where}: {key} is not in tests/repository/commands_allowed.py; is there no module for it?"


def programs_run(root: Path) -> dict[tuple[str, str], str]:
    """(role or playbook, program) → one place; Molecule's scenarios may run what they like."""
    found: dict[tuple[str, str], str] = {}
    for task in tasks(root):
        if task.runs_program and not task.of_molecule:
            found.setdefault((task.role or task.path.name, program_of(task)), task.where)
    return found


def program_of(task: Task) -> str:
    """The program that a task runs: the last part of its path, with variables as they are written."""
    given = [task.arguments[key] for key in ("argv", "cmd", "command", "_raw") if key in task.arguments]
    first = given[0][0] if given and isinstance(given[0], list) else "".join(map(str, given[:1]))
    # A list that is put together by an expression begins with its program, in quotes or in a variable.
    made = re.match(r"\s*\{\{\s*\[\s*([^,\]]+)", first)
    word = re.match(r"\s*((?:\{\{.*?\}\}|\S)+)", first)
    found = word[1] if word else ""
    if made:
        found = (re.findall(r"'([^']*)'", made[1]) or [f"{{{{ {made[1].strip()} }}}}"])[-1]
    return found if found.startswith("{{") and found.endswith("}}") else found.rsplit("/", 1)[-1]


def rule_nothing_waits_by_sleeping(root: Path) -> Iterator[str]:
    for task in tasks(root):
        for_nothing = task.module.endswith(".wait_for") and not (
            {"port", "path", "host", "search_regex"} & task.arguments.keys()
        )
        sleeps = task.runs_program and re.search(r"\bsleep\b", text_of(task.arguments))
        if task.module.endswith(".pause") or for_nothing or sleeps:
            yield f"{task.where}: a sleep; wait for health instead"


def rule_tasks_with_secrets_print_nothing(root: Path) -> Iterator[str]:
    secret = re.compile(rf"\b({'|'.join(sorted(secret_variables(root)))})\b{NOT_SECRET}")
    for task in tasks(root):
        said = {
            key: value for key, value in task.fields.items() if key not in ("name", "when", "tags", "notify")
        }
        yield from _secret_files(root, task, secret)
        hands_on = task.included_role or task.module.endswith(("include_tasks", "import_tasks"))
        if hands_on or task.of_molecule:  # a scenario's secrets die with its hosts
            continue
        if not secret.search(text_of(said) + _template_text(root, task)):
            continue
        if task.fields.get("no_log") is not True:
            yield f"{task.where}: shows a secret; no_log: true"
        writes = task.module.endswith((".template", ".copy", ".blockinfile", ".lineinfile"))
        if writes and task.fields.get("diff") is not False:
            yield f"{task.where}: shows a secret in a diff; diff: false"
        if task.module.endswith(".set_fact"):
            yield f"{task.where}: keeps a secret as a fact"


def secret_variables(root: Path) -> set[str]:
    """`cluster_secrets`, and every variable that is made of one that is secret."""
    return variables_made_of(root, {"cluster_secrets"}, but=NOT_SECRET)


def variables_made_of(root: Path, names: set[str], but: str = "") -> set[str]:
    """`names`, and every variable of the site, of a role or of a task that is made of one of them.

    `but` is a pattern: a mention that it follows does not count.
    """
    defined: list[tuple[str, str]] = []
    for path in [
        *(root / "group_vars").rglob("*.yaml"),
        *(root / "ansible/roles").glob("*/[dv][ea]*/*.yaml"),
    ]:
        content = plain(read_yaml(path))
        defined += [(name, text_of(value)) for name, value in (content or {}).items()]
    for task in (one for one in tasks(root) if not one.of_molecule):
        defined += [(name, text_of(value)) for name, value in (task.fields.get("vars") or {}).items()]
    all_names, size = set(names), 0
    while size < len(all_names):
        size = len(all_names)
        mentions = _mention(all_names, but)
        all_names |= {name for name, value in defined if mentions.search(value)}
    return all_names


def _mention(names: set[str], but: str = "") -> re.Pattern[str]:
    return re.compile(rf"\{{[\{{%].*\b({'|'.join(sorted(names))})\b{but}")


def rule_what_is_handed_to_a_role_means_the_same_inside_it(root: Path) -> Iterator[str]:
    """A variable is worked out where it is used: `role_path` handed to a role is that role's own path."""
    bound_late = _mention(variables_made_of(root, set(BOUND_BY_THE_ROLE)))
    for where, role, variables in _handed_to_roles(root):
        for name, value in variables.items():
            mentioned = bound_late.search(text_of(value))
            if name != "__line__" and mentioned:
                yield f"{where}: {name} hands {mentioned[1]} to the role {role}, where it is another one"


def _handed_to_roles(root: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(place, role, variables) of every role that is included, listed by a play or depended on."""
    for task in tasks(root):
        if task.included_role:
            yield task.where, task.included_role, dict(task.fields.get("vars") or {})
    listed: list[tuple[Path, dict[str, Any], list[Any]]] = [
        (path, play.get("vars") or {}, play.get("roles") or [])
        for path in [*playbooks(root), *sorted((root / "ansible").rglob("molecule/**/*.yml"))]
        for play in plays(path)
    ]
    for path in sorted((root / "ansible/roles").glob("*/meta/main.yaml")):
        listed.append((path, {}, (read_yaml(path) or {}).get("dependencies") or []))
    for path, shared, roles_listed in listed:
        for one in roles_listed:
            own = one if isinstance(one, dict) else {"role": one, "__line__": 1}
            role = str(own.get("role", own.get("name")))
            handed = {**shared, **(own.get("vars") or {}), **own}
            yield f"{path.relative_to(root)}:{own['__line__']}", role, handed


def _secret_files(root: Path, task: Task, secret: re.Pattern[str]) -> Iterator[str]:
    """The role `host_files` prints what it writes, but for files that are said to be secret."""
    wanted = (task.fields.get("vars") or {}).get("host_files_wanted", [])
    if not isinstance(wanted, list):
        yield f"{task.where}: host_files_wanted: list the files here, so that they can be checked"
        return
    for file in wanted:
        shows = "src" in file and secret.search(_template_of(root, task, file["src"]))
        if shows and file.get("secret") is not True:
            yield f"{task.where}: {file['src']} shows a secret; secret: true"


def _template_text(root: Path, task: Task) -> str:
    source = task.arguments.get("src")
    if not task.module.endswith(".template") or not isinstance(source, str):
        return ""
    return _template_of(root, task, source)


def _template_of(root: Path, task: Task, source: str) -> str:
    path = root / "ansible/roles" / str(task.role) / "templates" / source
    return path.read_text() if task.role and path.exists() else ""
