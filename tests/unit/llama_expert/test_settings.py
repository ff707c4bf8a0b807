"""Settings and wiring of the model servers."""

import os
from pathlib import Path

import pytest

from clusterkit.clock import SystemClock
from clusterkit.config.settings import load_settings
from clusterkit.errors import SettingsError
from llama_expert.__main__ import engine_of, make_model_servers
from llama_expert.settings import LlamaExpertSettings, default_threads

MODELS = Path(__file__).parents[3] / "group_vars/all/models.yaml"


def test_one_core_is_left_for_everything_else() -> None:
    cores = len(os.sched_getaffinity(0))
    assert default_threads() == max(1, cores - 1)
    assert load_settings(LlamaExpertSettings).threads == default_threads()


def test_experts_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLAMA_EXPERT_EXPERTS", "math, main,")
    settings = load_settings(LlamaExpertSettings, home=tmp_path, models_file=MODELS)
    servers = make_model_servers(settings, SystemClock())
    assert [state.expert for state in servers.states] == ["main", "math"]


def test_an_unknown_expert_is_refused_with_a_guess(tmp_path: Path) -> None:
    settings = load_settings(LlamaExpertSettings, home=tmp_path, models_file=MODELS, experts=("codng",))
    with pytest.raises(SettingsError, match=r"unknown expert 'codng' .*did you mean 'coding'"):
        make_model_servers(settings, SystemClock())


def test_the_binary_engine_needs_its_binary(tmp_path: Path) -> None:
    for binary in (None, tmp_path / "no-such-file"):
        settings = load_settings(LlamaExpertSettings, engine="llama-server", llama_server_binary=binary)
        with pytest.raises(SettingsError, match="LLAMA_EXPERT_LLAMA_SERVER_BINARY"):
            engine_of(settings)


def test_the_engines_key_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    settings = load_settings(LlamaExpertSettings, home=tmp_path, models_file=MODELS)
    make_model_servers(settings, SystemClock())
    (key,) = (tmp_path / "secrets").iterdir()
    assert key.stat().st_mode & 0o777 == 0o600
