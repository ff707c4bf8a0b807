"""The lists as files on disk: what `[memory]` may say, and when they are read again."""

from pathlib import Path

import pytest
import yaml

from clusterkit.config.catalogue import Catalogue, ExpertSpec
from clusterkit.errors import ConfigFileError
from llama_expert.lists import ListReader, MemoryRules, read_memory_rules
from tests.catalogues import catalogue_of

EXPERTS = ("main", "coding")


def rules(folder: Path, text: str) -> MemoryRules:
    path = folder / "hearth.toml"
    path.write_text(text)
    return read_memory_rules(path, EXPERTS)


def test_models_are_in_memory_together_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    assert read_memory_rules(tmp_path / "hearth.toml", EXPERTS) == MemoryRules()
    assert rules(tmp_path, "") == MemoryRules()
    assert rules(tmp_path, "[memory]\nidle_minutes = 1\n").idle_seconds is None


def test_models_take_turns_where_one_line_says_so(tmp_path: Path) -> None:
    assert rules(tmp_path, '[memory]\nmodels = "in_turn"\n') == MemoryRules(
        in_turn=True, pinned=frozenset(), idle_seconds=900.0
    )
    told = rules(tmp_path, '[memory]\nmodels = "in_turn"\npinned = ["main"]\nidle_minutes = 2\n')
    assert told == MemoryRules(in_turn=True, pinned=frozenset({"main"}), idle_seconds=120.0)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ('[memory]\nmodels = "both"\n', 2, "'together' or 'in_turn'"),
        ("[memory]\n\nidle_minutes = 0\n", 3, "greater than 0"),
        ('[memory]\npined = ["main"]\n', 2, "did you mean 'pinned'"),
        ('[memory]\npinned = ["mian"]\n', 2, "unknown expert 'mian'"),
        ("memory = 3\n", 1, "valid dictionary"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_line(tmp_path: Path, text: str, line: int, problem: str) -> None:
    with pytest.raises(ConfigFileError, match=problem) as caught:
        rules(tmp_path, text)
    assert caught.value.line == line


def test_the_lists_are_read_again_when_a_file_has_changed(tmp_path: Path) -> None:
    model = {"name": "m", "url": "file:///m", "filename": "m.gguf", "memory_mb": 1}
    catalogue, own = tmp_path / "models.yaml", tmp_path / "hearth.toml"
    catalogue.write_text(yaml.safe_dump(catalogue_of({"main": [model]})))
    selected = 0

    def select(read: Catalogue) -> tuple[ExpertSpec, ...]:
        nonlocal selected
        selected += 1
        return tuple(read.experts.values())

    reader = ListReader(catalogue, own, select)
    assert [one.name for one in reader.read().experts] == ["main"]
    assert reader.read() is reader.read()
    assert selected == 1
    own.write_text('[memory]\nmodels = "in_turn"\n')
    assert reader.read().memory.in_turn
    assert selected == 2
