"""What the agent can be told, and how it refuses what it cannot be."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from clusterkit.config.settings import load_settings
from clusterkit.errors import SettingsError
from pipecatapp.settings import PipecatappSettings

#: variable (after the prefix) → (text in the file, the typed value it becomes)
WRITTEN: dict[str, tuple[str, Any]] = {
    "DATABASE_URL": (
        "postgresql://agent:canary-000000004@db/x",
        SecretStr("postgresql://agent:canary-000000004@db/x"),
    ),
    "MAX_CONCURRENT_AGENTS": ("5", 5),
    "DEFAULT_TIMEOUT_SECONDS": ("12.5", 12.5),
    "ENVIRONMENT": ("development", "development"),
    "DEBUG_MODE": ("true", True),
}

DEFAULTS: dict[str, Any] = {
    "DATABASE_URL": None,
    "MAX_CONCURRENT_AGENTS": 3,
    "DEFAULT_TIMEOUT_SECONDS": 300.0,
    "ENVIRONMENT": "production",
    "DEBUG_MODE": False,
}


def write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, values: dict[str, str]) -> None:
    file = tmp_path / "agent.env"
    file.write_text("".join(f"PIPECATAPP_{name}={value}\n" for name, value in values.items()))
    monkeypatch.setenv("PIPECATAPP_ENV_FILE", str(file))


@pytest.mark.parametrize("name", WRITTEN)
def test_every_variable_is_read_from_the_environment_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    write(monkeypatch, tmp_path, {key: text for key, (text, _) in WRITTEN.items()})
    value = getattr(load_settings(PipecatappSettings), name.lower())
    assert value == WRITTEN[name][1]
    assert type(value) is type(WRITTEN[name][1])


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_variable_has_its_default(name: str) -> None:
    assert getattr(load_settings(PipecatappSettings), name.lower()) == DEFAULTS[name]


def test_every_variable_is_validated_and_all_that_is_wrong_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = {
        "DATABASE_URL": "canary-000000004",
        "MAX_CONCURRENT_AGENTS": "0",
        "DEFAULT_TIMEOUT_SECONDS": "-1",
        "ENVIRONMENT": "staging",
        "DEBUG_MODE": "perhaps",
    }
    write(monkeypatch, tmp_path, wrong)
    with pytest.raises(SettingsError) as caught:
        load_settings(PipecatappSettings)
    problems = str(caught.value).split("; ")
    assert sorted(problem.split(":")[0] for problem in problems) == sorted(
        f"PIPECATAPP_{name}" for name in wrong
    )
    assert "(valid: development, production)" in str(caught.value)
    assert "canary" not in str(caught.value) + str(caught.value.__cause__)


@pytest.mark.parametrize("value", ["nan", "inf", "0"])
def test_a_timeout_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PIPECATAPP_DEFAULT_TIMEOUT_SECONDS", value)
    with pytest.raises(SettingsError, match="DEFAULT_TIMEOUT_SECONDS"):
        load_settings(PipecatappSettings)


def test_no_secret_is_ever_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(monkeypatch, tmp_path, {key: text for key, (text, _) in WRITTEN.items()})
    settings = load_settings(PipecatappSettings)
    shown = repr(settings) + str(settings) + settings.model_dump_json() + repr(settings.model_dump())
    assert "development" in shown
    assert "canary" not in shown


def test_the_database_is_a_file_at_home_unless_told_otherwise(tmp_path: Path) -> None:
    settings = load_settings(PipecatappSettings, home=tmp_path)
    assert settings.effective_database_url == f"sqlite:///{tmp_path}/data/pipecatapp.db"
    settings = load_settings(PipecatappSettings, database_url="sqlite:///elsewhere.db")
    assert settings.effective_database_url == "sqlite:///elsewhere.db"


def test_debug_mode_logs_everything() -> None:
    assert load_settings(PipecatappSettings, log_level="error").effective_log_level == "error"
    assert (
        load_settings(PipecatappSettings, log_level="error", debug_mode=True).effective_log_level == "debug"
    )
