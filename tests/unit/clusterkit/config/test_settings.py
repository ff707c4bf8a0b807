"""Settings are typed, read once, and all that is wrong is said at once."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, SecretStr, ValidationError

from clusterkit.config.settings import (
    ServiceSettings,
    describe_settings,
    is_loopback,
    load_settings,
    settings_config,
)
from clusterkit.errors import SettingsError


class ShopSettings(ServiceSettings):
    """Settings of a service that exists in this test alone."""

    model_config = settings_config("SHOP_")

    port: int = Field(7, ge=0, le=65535, description="Where to listen.")
    counters: int = Field(3, ge=1, description="How many.")
    mode: Literal["open", "shut"] = Field("open", description="Which.")
    till_key: SecretStr | None = Field(None, min_length=8, description="Opens the till.")


class KeyedSettings(ServiceSettings):
    """Settings with a variable that has no default."""

    model_config = settings_config("KEYED_")

    owner: str = Field(description="Whose it is.")


def test_without_variables_everything_has_its_default() -> None:
    settings = load_settings(ShopSettings)
    assert (settings.host, settings.port, settings.counters, settings.mode) == ("127.0.0.1", 7, 3, "open")
    assert settings.home == Path("~/.hearth").expanduser()
    assert settings.secrets_dir.is_relative_to(settings.home)
    assert settings.data_dir.is_relative_to(settings.home)
    assert settings.registry_file.is_relative_to(settings.home)


def test_variables_win_over_the_file_and_overrides_over_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "shop.env"
    file.write_text("SHOP_COUNTERS=4\nSHOP_MODE=shut\nSHOP_PORT=1\n")
    monkeypatch.setenv("SHOP_ENV_FILE", str(file))
    monkeypatch.setenv("SHOP_MODE", "open")
    settings = load_settings(ShopSettings, port=2)
    assert (settings.counters, settings.mode, settings.port) == (4, "open", 2)


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_COUNTERS", "")
    assert load_settings(ShopSettings).counters == 3


def test_everything_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PORT": "70000", "COUNTERS": "many", "MODE": "ajar", "LOG_LEVEL": "loud"}.items():
        monkeypatch.setenv(f"SHOP_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings(ShopSettings)
    said = str(caught.value)
    assert "SHOP_PORT='70000': Input should be less than or equal to 65535 (default 7)" in said
    assert "SHOP_COUNTERS='many': Input should be a valid integer" in said
    assert "SHOP_MODE='ajar': is not allowed (valid: open, shut) (default open)" in said
    assert "SHOP_LOG_LEVEL='loud': is not allowed (valid: debug, info, warning, error)" in said


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="KEYED_OWNER: missing"):
        load_settings(KeyedSettings)


def test_a_secret_is_in_no_message_and_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TILL_KEY", "swordf")
    with pytest.raises(SettingsError, match="SHOP_TILL_KEY: ") as caught:
        load_settings(ShopSettings)
    assert "swordf" not in str(caught.value)
    assert "swordf" not in str(caught.value.__cause__)
    monkeypatch.setenv("SHOP_TILL_KEY", "swordfish-swordfish")
    settings = load_settings(ShopSettings)
    assert "swordfish" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert settings.till_key is not None
    assert settings.till_key.get_secret_value() == "swordfish-swordfish"


def test_an_environment_file_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHOP_ENV_FILE", str(tmp_path / "none.env"))
    with pytest.raises(SettingsError, match=r"SHOP_ENV_FILE='.*none\.env': there is no such file"):
        load_settings(ShopSettings)
    latin = tmp_path / "latin.env"
    latin.write_bytes("SHOP_MODE=geöffnet\n".encode("latin-1"))
    monkeypatch.setenv("SHOP_ENV_FILE", str(latin))
    with pytest.raises(SettingsError, match=r"SHOP_ENV_FILE='.*latin\.env': is not UTF-8 text"):
        load_settings(ShopSettings)


def test_settings_do_not_change_once_read() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_settings(ShopSettings).counters = 5


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"])
def test_these_addresses_are_this_machine(host: str) -> None:
    assert is_loopback(host)
    assert load_settings(ShopSettings, host=host).is_loopback


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.5", "hearth.lan", "", "localhost.evil.example", "1"]
)
def test_these_addresses_are_not(host: str) -> None:
    assert not is_loopback(host)


def test_every_variable_is_described() -> None:
    rows = {row[0]: row[1:] for row in describe_settings(ShopSettings)}
    assert rows["SHOP_MODE"] == ("open | shut", "open", "Which.")
    assert rows["SHOP_HOME"][:2] == ("Path", "~/.hearth")
    assert rows["SHOP_TILL_KEY"][0] == "SecretStr | none"
    assert all(description for _, _, description in rows.values())
    assert {row[0]: row[2] for row in describe_settings(KeyedSettings)}["KEYED_OWNER"] == "required"
