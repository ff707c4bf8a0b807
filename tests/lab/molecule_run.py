"""`python -m tests.lab.molecule_run [ROLE …]`: every role's Molecule scenarios, one after another."""

import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

from tests.lab.engine import LabError, ensure_engine
from tests.lab.host import dump
from tests.lab.lab import LABS, Lab, process_owner
from tests.lab.playbook_run import BIN, ROOT, ansible_environment
from tests.subjects import molecule_subject

ROLES = ROOT / "ansible" / "roles"
CONFIG = ROOT / "ansible" / "molecule" / "config.yml"
RESULTS = ROOT / "docs" / "results" / "molecule.json"
STEP = re.compile(r"\[[\w-]+ > (\w+)\] (?:\x1b\[\d+m)?(Executing|Executed)(?:: (\w+))?")


@dataclass
class Outcome:
    """What became of one scenario."""

    role: str
    scenario: str
    result: str = "failed"
    seconds: float = 0.0
    steps: dict[str, float] = field(default_factory=dict)
    subject: str = ""


def scenarios(roles: list[str]) -> list[tuple[str, str]]:
    """Role and scenario of all that are wanted; without names, of all there are."""
    found = sorted(
        (file.parents[2].name, file.parent.name) for file in ROLES.glob("*/molecule/*/molecule.yml")
    )
    unknown = set(roles) - {role for role, _ in found}
    if unknown:
        known = ", ".join(sorted({role for role, _ in found}))
        raise LabError(f"no Molecule scenario for {', '.join(sorted(unknown))} (known: {known})")
    return [(role, scenario) for role, scenario in found if not roles or role in roles]


def run_scenario(role: str, scenario: str) -> Outcome:
    """Run one scenario to its end; its lab is gone afterwards, whatever happened."""
    outcome = Outcome(role, scenario, subject=molecule_subject(ROOT, role))
    lab = f"molecule-{role.replace('_', '-')}-{scenario.replace('_', '-')}"
    folder = LABS / lab
    began = time.monotonic()
    process = subprocess.Popen(
        [str(BIN / "molecule"), "--base-config", str(CONFIG), "test", "--scenario-name", scenario],
        cwd=ROLES / role,
        env=ansible_environment(
            {
                "HEARTH_ROOT": str(ROOT),
                "HEARTH_LAB": lab,
                "HEARTH_LAB_FOLDER": str(folder),
                "HEARTH_LAB_OWNER": process_owner(),
                "HEARTH_PYTHON": sys.executable,
                "MOLECULE_ANSIBLE_ARGS_STRICT_MODE": "1",
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            }
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            _note(outcome, line, time.monotonic() - began)
        if process.wait() == 0:
            outcome.result = "passed"
    finally:
        process.kill()
        Lab(lab).down()
        Path(f"{folder}.vault-password").unlink(missing_ok=True)
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def _note(outcome: Outcome, line: str, at: float) -> None:
    """Remember when a step began; once it is over, how long it took."""
    match = STEP.search(line)
    if match and match[2] == "Executing":
        outcome.steps[match[1]] = -at
    elif match and outcome.steps.get(match[1], 0) < 0:
        outcome.steps[match[1]] = round(at + outcome.steps[match[1]], 1)


def main(roles: list[str]) -> int:
    """Run them, keep the results, and say which failed."""
    try:
        ensure_engine()
        wanted = scenarios(roles)
    except LabError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    outcomes = []
    for role, scenario in wanted:
        sys.stdout.write(f"\n== {role} ({scenario}) ==\n")
        outcomes.append(run_scenario(role, scenario))
        _keep(outcomes[-1])
    sys.stdout.write("\n")
    for outcome in outcomes:
        sys.stdout.write(f"{outcome.role:<20} {outcome.result:<7} {outcome.seconds:6.1f} s\n")
    return 0 if all(outcome.result == "passed" for outcome in outcomes) else 1


def _keep(outcome: Outcome) -> None:
    kept = yaml.safe_load(RESULTS.read_text()) if RESULTS.is_file() else []
    others = [r for r in kept if (r["role"], r["scenario"]) != (outcome.role, outcome.scenario)]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(dump(sorted([*others, asdict(outcome)], key=lambda r: (r["role"], r["scenario"]))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
