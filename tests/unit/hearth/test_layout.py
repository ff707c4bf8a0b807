"""Where the parts of a Hearth are, and with what its services are started."""

from pathlib import Path

from hearth.one_machine.layout import Layout, find_layout
from hearth.one_machine.services import SERVICES, job_specs

ROOT = Path(__file__).resolve().parents[3]


def test_in_a_checkout_the_shipped_files_are_those_of_the_checkout(tmp_path: Path) -> None:
    layout = find_layout(tmp_path)
    assert layout.models_file == ROOT / "group_vars" / "all" / "models.yaml"
    assert layout.workflows_dir == ROOT / "workflows"


def test_in_a_wheel_they_are_those_inside_the_package(tmp_path: Path) -> None:
    layout = Layout(tmp_path, tmp_path / "data")
    assert layout.models_file == tmp_path / "data" / "models.yaml"


def test_every_service_is_told_its_home_and_its_files(tmp_path: Path) -> None:
    layout = find_layout(tmp_path)
    specs = job_specs(layout, {"PATH": "/bin"})
    assert tuple(spec.name for spec in specs) == SERVICES
    for spec in specs:
        assert spec.environment[f"{spec.name}_home".upper()] == str(tmp_path)
        assert spec.environment["PATH"] == "/bin"
        assert spec.command[1:] == ("-m", spec.name)


def test_what_a_person_has_set_wins(tmp_path: Path) -> None:
    set_by_hand = {"PIPECATAPP_WORKFLOWS_DIR": "/my/workflows", "OMP_WAIT_POLICY": "active"}
    for spec in job_specs(find_layout(tmp_path), set_by_hand):
        assert spec.environment.items() >= set_by_hand.items()
