"""A person's own models on this machine: what changes something, and what leaves everything running."""

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clusterkit.config.catalogue import read_own_models
from clusterkit.config.own_models import OwnModelError
from clusterkit.fetch.part_file import DownloadProgress
from hearth.one_machine.experts import ExpertsError
from hearth.one_machine.layout import Layout, find_layout
from hearth.one_machine.models import (
    ModelInUseError,
    NameTakenError,
    UnknownExpertError,
    add_first_choice,
    get_listed,
    remove_choice,
)
from hearth.one_machine.place import OneMachine
from hearth.place import ModelChange
from hearth.tables import Cell, Tone
from llama_expert.fetch import UnknownModelError
from tests.catalogues import built_in_model, catalogue_of
from tests.servers.places import StagedMachine, staged_machine

MakeGguf = Callable[..., Path]
REFRESH = "/experts/refresh"
SHIPPED = "smollm2-135m-instruct"  #: the last of every list


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[StagedMachine]:
    async with staged_machine(tmp_path / "hearth") as staged, staged.experts():
        yield staged


def nobody_looks(_: DownloadProgress) -> None:
    """Progress that nobody is shown."""


async def add(machine: StagedMachine, source: Path | str, **options: str) -> ModelChange:
    return await machine.place.add_model(
        str(source),
        expert=options.get("expert", "main"),
        sha256=options.get("sha256"),
        name=options.get("name"),
        progress=nobody_looks,
    )


def listed(machine: StagedMachine) -> str:
    return machine.layout.own_models_file.read_text()


async def test_a_new_model_is_told_to_the_model_servers_and_nothing_is_restarted(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    change = await add(machine, make_gguf("own.gguf"))
    assert change.changed
    assert "own" in change.summary
    assert "hearth status" in change.next_step
    assert machine.told == [REFRESH]
    assert machine.restarts() == {}


async def test_a_model_that_is_the_first_choice_already_changes_nothing(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    source = make_gguf("own.gguf")
    await add(machine, source)
    before = listed(machine), (machine.layout.models_dir / "own.gguf").stat().st_mtime_ns
    again = await add(machine, source)
    assert (again.changed, again.next_step) == (False, "")
    assert again.summary == "own is the first choice of 'main' already; nothing was changed."
    assert (listed(machine), (machine.layout.models_dir / "own.gguf").stat().st_mtime_ns) == before
    assert machine.told == [REFRESH]


async def test_a_file_that_has_changed_since_is_a_new_model(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    await add(machine, make_gguf("own.gguf"))
    assert (await add(machine, make_gguf("own.gguf", padding=64))).changed
    assert machine.told == [REFRESH, REFRESH]


async def test_a_copy_that_is_broken_is_brought_anew(machine: StagedMachine, make_gguf: MakeGguf) -> None:
    source = make_gguf("own.gguf")
    await add(machine, source)
    (machine.layout.models_dir / "own.gguf").write_bytes(b"GGUF")
    assert (await add(machine, source)).changed
    assert (machine.layout.models_dir / "own.gguf").read_bytes() == source.read_bytes()


async def test_a_model_behind_another_becomes_the_first_choice_again(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    first, second = make_gguf("first.gguf"), make_gguf("second.gguf")
    for source in (first, second):
        await add(machine, source)
    assert (await add(machine, first)).changed
    assert listed(machine).index("first") < listed(machine).index("second")


async def test_another_name_expert_or_hash_is_another_wish(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    source = make_gguf("own.gguf")
    await add(machine, source)
    assert (await add(machine, source, name="mine")).changed
    assert (await add(machine, source, expert="coding")).changed


async def test_a_name_of_a_shipped_model_is_refused_before_anything_is_fetched(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    with pytest.raises(NameTakenError, match=rf"'main' has a shipped model '{SHIPPED}'.*--name"):
        await add(machine, make_gguf("own.gguf"), name=SHIPPED)
    assert not machine.layout.models_dir.exists()
    assert machine.told == []


@pytest.mark.parametrize("expert", ["nobody", ""])
async def test_an_expert_that_there_is_not_is_said_with_those_that_there_are(
    machine: StagedMachine, make_gguf: MakeGguf, expert: str
) -> None:
    with pytest.raises(UnknownExpertError, match=rf"no expert '{expert}' \(known: main, "):
        await add(machine, make_gguf("own.gguf"), expert=expert)
    with pytest.raises(UnknownExpertError, match=rf"no expert '{expert}' \(known: main, "):
        await machine.place.remove_model("own", expert=expert)


async def test_removing_what_is_not_there_changes_nothing(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    await add(machine, make_gguf("own.gguf"))
    with pytest.raises(OwnModelError, match=r"main has no own model 'other' \(own models: own\)"):
        await machine.place.remove_model("other", expert="main")
    assert machine.told == [REFRESH]
    assert (await machine.place.remove_model("own", expert="main")).changed
    assert machine.told == [REFRESH, REFRESH]


async def test_the_list_says_what_is_here_and_what_is_in_use(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    await add(machine, make_gguf("own.gguf"))
    (announced,) = await machine.registry.instances("expert-main")
    await machine.registry.heartbeat(announced.id, healthy=True, detail="", meta={"model": SHIPPED})
    rows = [row for row in (await machine.place.models()).data if row["expert"] == "main"]
    assert (rows[0]["name"], rows[0]["present"], rows[0]["active"]) == ("own", True, False)
    assert (rows[-1]["name"], rows[-1]["present"], rows[-1]["active"]) == (SHIPPED, True, True)


async def test_a_model_is_added_while_hearth_does_not_run(tmp_path: Path, make_gguf: MakeGguf) -> None:
    place = OneMachine(find_layout(tmp_path / "elsewhere"))
    change = await place.add_model(
        str(make_gguf("own.gguf")), expert="main", sha256=None, name=None, progress=nobody_looks
    )
    assert change.next_step == "Start Hearth to use it: hearth up"


async def test_model_servers_that_are_just_starting_read_the_lists_anyway(
    tmp_path: Path, make_gguf: MakeGguf
) -> None:
    async with staged_machine(tmp_path / "hearth") as starting:
        assert "just starting" in (await add(starting, make_gguf("own.gguf"))).next_step


async def test_a_model_is_loaded_and_unloaded_by_the_name_of_its_expert(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    await add(machine, make_gguf("own.gguf"))
    assert (await machine.place.load_model("main")).summary == "own is loading."
    unloading = await machine.place.unload_model("main")
    assert "leaves memory" in unloading.summary
    assert machine.told == [REFRESH, "/experts/main/load", "/experts/main/unload"]
    for command in (machine.place.load_model, machine.place.unload_model):
        with pytest.raises(UnknownExpertError, match="no expert 'nobody'"):
            await command("nobody")


async def test_lists_that_the_model_servers_cannot_read_are_said(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    machine.layout.own_models_file.write_text('[memory]\nmodels = "sideways"\n')
    with pytest.raises(ExpertsError, match=r"hearth.toml:2:1: memory.models - .*'together' or 'in_turn'"):
        await add(machine, make_gguf("own.gguf"))


async def test_the_list_says_what_a_model_costs_whether_it_fits_and_whose_licence_it_has(
    machine: StagedMachine,
) -> None:
    rows = {row["name"]: row for row in (await machine.place.models()).data if row["expert"] == "main"}
    assert rows["qwen2.5-coder-1.5b-instruct"]["bytes"] == 1_117_320_768
    assert rows["qwen2.5-coder-1.5b-instruct"]["licence"] == "Apache-2.0"
    assert (rows[SHIPPED]["fits"], rows[SHIPPED]["verified"]) == (True, True)
    assert not rows["lfm2-700m"]["verified"]


async def test_what_ships_with_hearth_is_here_already_and_cannot_be_deleted(machine: StagedMachine) -> None:
    change = await machine.place.get_model(SHIPPED, progress=nobody_looks)
    assert (change.changed, change.summary) == (False, f"{SHIPPED} is here already, and whole.")
    with pytest.raises(UnknownModelError, match="ships with Hearth"):
        await machine.place.remove_model(SHIPPED, expert="main")
    assert machine.told == []


async def test_a_model_that_the_catalogue_does_not_have_is_said_with_a_guess(machine: StagedMachine) -> None:
    with pytest.raises(UnknownModelError, match=r"no model 'qwen3.5-2' in the catalogue.*qwen3\.5-2b"):
        await machine.place.get_model("qwen3.5-2", progress=nobody_looks)


async def use(machine: StagedMachine, model: str) -> None:
    """Have the expert `main` say that it uses `model`."""
    (main,) = await machine.registry.instances("expert-main")
    await machine.serve("expert-main", main.port, model=model)


def with_catalogue(machine: StagedMachine, *entries: dict[str, Any]) -> Layout:
    """The same machine with another catalogue."""
    shared = machine.layout.home / "shared"
    shared.mkdir(parents=True)
    (shared / "models.yaml").write_text(json.dumps(catalogue_of({"main": entries})))  # JSON is YAML
    return replace(machine.layout, shared=shared)


def fetched_from(source: Path) -> dict[str, Any]:
    return {"name": "fetched", "url": source.as_uri(), "filename": "here.gguf", "memory_mb": 300}


async def test_a_listed_model_is_fetched_once_and_deleted_again(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    source = make_gguf("there.gguf")
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    layout = with_catalogue(machine, {**fetched_from(source), "sha256": sha256}, built_in_model())
    # An address that has gone: what is here must be enough.
    here = layout.models_dir / "here.gguf"
    here.parent.mkdir()
    here.write_bytes(source.read_bytes())
    source.unlink()
    assert not (await get_listed(layout, "fetched", nobody_looks)).changed
    assert machine.told == []
    await use(machine, "fetched")
    removed = await remove_choice(layout, "fetched", "main")
    assert removed.summary == "fetched is deleted; 1 MB are free again."
    assert not here.exists()
    assert machine.told == [REFRESH]
    with pytest.raises(UnknownModelError, match="is not on this machine"):
        await remove_choice(layout, "fetched", "main")


async def test_a_fetched_model_that_nobody_uses_is_deleted_without_a_word_to_the_servers(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    layout = with_catalogue(machine, fetched_from(make_gguf("gone.gguf")), built_in_model())
    layout.models_dir.mkdir()
    make_gguf("hearth/models/here.gguf")
    await use(machine, SHIPPED)
    assert (await remove_choice(layout, "fetched", "main")).next_step == ""
    assert machine.told == []


async def test_the_only_model_of_an_expert_is_not_deleted_while_it_is_in_use(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    layout = with_catalogue(machine, fetched_from(make_gguf("gone.gguf")))
    layout.models_dir.mkdir()
    file = make_gguf("hearth/models/here.gguf")
    await use(machine, "fetched")
    with pytest.raises(ModelInUseError, match="fetched is in use by main, which has no other model here"):
        await remove_choice(layout, "fetched", "main")
    assert file.exists()


async def test_the_status_says_what_there_is_to_know_of_an_expert_that_is_healthy(
    machine: StagedMachine,
) -> None:
    note = "own: sha256 is another one"
    (main,) = await machine.registry.instances("expert-main")
    await machine.serve("expert-main", main.port, detail=note)
    (_, experts) = (await machine.place.state()).tables
    assert Cell(f"healthy; {note}", Tone.DOUBTFUL) in experts.rows[0]


async def test_a_file_that_the_catalogue_knows_is_added_with_what_is_known_of_it(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    known, unknown = make_gguf("a.gguf"), make_gguf("b.gguf", padding=64)
    sha256 = hashlib.sha256(known.read_bytes()).hexdigest()
    facts = {"sha256": sha256, "tools": "schema", "context": 8192, "repeat_penalty": 1.2}
    layout = with_catalogue(machine, {**fetched_from(known), **facts}, built_in_model())
    for source in (known, unknown):
        await add_first_choice(layout, str(source), "main", None, None, nobody_looks)
    added = {model.name: model for model in read_own_models(layout.own_models_file, {"main": ()})["main"]}
    assert (added["a"].tools, added["a"].context, added["a"].repeat_penalty) == ("schema", 8192, 1.2)
    assert (added["b"].tools, added["b"].context, added["b"].repeat_penalty) == ("native", None, 1.0)
