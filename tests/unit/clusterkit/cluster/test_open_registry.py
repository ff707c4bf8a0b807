"""The settings alone decide which registry a service uses."""

from pathlib import Path

import pytest

from clusterkit.clock import SystemClock
from clusterkit.cluster.consul_registry import ConsulRegistry
from clusterkit.cluster.open_registry import open_registry
from clusterkit.config.settings import ServiceSettings, load_settings, settings_config
from clusterkit.errors import SettingsError
from clusterkit.ports.local_registry import LocalRegistry


class ShopSettings(ServiceSettings):
    """Settings of the service of this test."""

    model_config = settings_config("SHOP_")


async def test_without_consul_the_registry_is_a_file_of_this_machine(tmp_path: Path) -> None:
    async with open_registry(ShopSettings(home=tmp_path), SystemClock()) as registry:
        assert isinstance(registry, LocalRegistry)
        assert (tmp_path / "run" / "registry.db").exists()


async def test_with_consul_it_is_consul_and_no_file_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_CONSUL_URL", "https://127.0.0.1:1")
    async with open_registry(load_settings(ShopSettings, home=tmp_path), SystemClock()) as registry:
        assert isinstance(registry, ConsulRegistry)
    assert not (tmp_path / "run").exists()


def test_an_address_of_consul_with_a_path_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_CONSUL_URL", "127.0.0.1:8501/ui")
    with pytest.raises(SettingsError, match=r"SHOP_CONSUL_URL='127\.0\.0\.1:8501/ui'"):
        load_settings(ShopSettings)


def test_secrets_lie_in_the_state_folder_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_HOME", str(tmp_path))
    assert load_settings(ShopSettings).secrets_dir == tmp_path / "secrets"
    monkeypatch.setenv("SHOP_SECRETS_DIR", "/elsewhere")
    assert load_settings(ShopSettings).secrets_dir == Path("/elsewhere")
