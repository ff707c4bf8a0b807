"""Which place the command is about, and where it looks for it."""

from pathlib import Path

import pytest

from clusterkit.config.settings import load_settings
from clusterkit.errors import SettingsError
from hearth.cluster.place import ClusterPlace
from hearth.one_machine.place import OneMachine
from hearth.places import choose_place
from hearth.settings import HearthSettings


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEARTH_HOME", "HEARTH_CONSUL_URL", "HEARTH_ENV_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEARTH_HOME", "/srv/hearth"),
        ("HEARTH_HOME", "state"),
        ("hearth_home", "/srv/h"),
        ("HEARTH_HOME", ""),
    ],
)
def test_the_folder_of_this_machine_is_the_one_that_the_settings_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    place = choose_place()
    assert isinstance(place, OneMachine)
    assert place.layout.home == load_settings(HearthSettings).home.resolve()


def test_a_file_with_an_address_of_consul_makes_it_the_cluster(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "hearth.env"
    file.write_text("HEARTH_CONSUL_URL=http://127.0.0.1:9\nHEARTH_NOMAD_URL=http://127.0.0.1:9\n")
    monkeypatch.setenv("HEARTH_ENV_FILE", str(file))
    assert isinstance(choose_place(), ClusterPlace)
    file.write_text(f"HEARTH_HOME={tmp_path}\n")
    place = choose_place()
    assert isinstance(place, OneMachine)
    assert place.layout.home == tmp_path


def test_a_setting_that_is_wrong_is_refused_whatever_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_UP_TIMEOUT_S", "soon")
    with pytest.raises(SettingsError, match="HEARTH_UP_TIMEOUT_S='soon'"):
        choose_place()
