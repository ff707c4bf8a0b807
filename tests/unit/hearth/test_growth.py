"""What growth does where it must not or cannot go on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clusterkit.clock import SystemClock
from clusterkit.ports.local_registry import LocalRegistry
from clusterkit.ports.registry import Instance
from hearth.one_machine.growth import Growth
from hearth.one_machine.growth_choice import MIN_FREE_DISK
from hearth.one_machine.layout import Layout, find_layout
from hearth.one_machine.state import GrowthState
from tests.catalogues import built_in_model, catalogue_of

BETTER = {
    "name": "better",
    "url": "https://example.org/better.gguf",
    "filename": "better.gguf",
    "memory_mb": 400,
    "bytes": 10**8,
    "sha256": "0" * 64,
}


def layout_of(folder: Path, *models: dict[str, Any]) -> Layout:
    (folder / "models.yaml").write_text(json.dumps(catalogue_of({"main": [*models, built_in_model()]})))
    layout = replace(find_layout(folder / "hearth"), shared=folder)
    layout.run_dir.mkdir(parents=True)
    return layout


async def grown(layout: Layout, free_disk: int) -> GrowthState:
    """The state that growth ends in, where the small model answers."""
    async with LocalRegistry(layout.registry_file, SystemClock()) as registry:
        await registry.register(
            Instance(service="expert-main", id="main", address="127.0.0.1", port=1), ttl=60
        )
        await registry.heartbeat("main", healthy=True)
        growth = Growth(layout, registry, SystemClock(), lambda: free_disk)
        await growth.run()
        return growth.state


async def test_below_ten_gigabytes_of_free_disk_a_person_is_asked(tmp_path: Path) -> None:
    state = await grown(layout_of(tmp_path, BETTER), MIN_FREE_DISK - 1)
    assert (state.state, state.model) == ("asking", "better")
    assert "hearth model get better" in state.detail


async def test_where_there_is_nothing_better_nothing_is_done(tmp_path: Path) -> None:
    assert await grown(layout_of(tmp_path), MIN_FREE_DISK) == GrowthState("idle")


@pytest.mark.parametrize("broken", ["experts: 1", "{"])
async def test_a_catalogue_that_cannot_be_read_is_said(tmp_path: Path, broken: str) -> None:
    layout = layout_of(tmp_path, BETTER)
    layout.models_file.write_text(broken)
    state = await grown(layout, MIN_FREE_DISK)
    assert state.state == "failed"
    assert "models.yaml" in state.detail
