"""A person's own models on this machine: what changes something, and what leaves everything running."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from clusterkit.config.own_models import OwnModelError
from clusterkit.fetch.part_file import DownloadProgress
from hearth.one_machine.models import NameTakenError, UnknownExpertError
from hearth.place import ModelChange
from tests.servers.places import StagedMachine, staged_machine

MakeGguf = Callable[..., Path]
SHIPPED = "smollm2-135m-instruct"  #: the last of every list


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[StagedMachine]:
    async with staged_machine(tmp_path / "hearth") as staged:
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


async def test_a_new_model_restarts_the_model_servers_and_nothing_else(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    change = await add(machine, make_gguf("own.gguf"))
    assert change.changed
    assert "own" in change.summary
    assert "hearth status" in change.next_step
    assert machine.restarts() == {"llama_expert": 1}


async def test_a_model_that_is_the_first_choice_already_changes_and_restarts_nothing(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    source = make_gguf("own.gguf")
    await add(machine, source)
    before = listed(machine), (machine.layout.models_dir / "own.gguf").stat().st_mtime_ns
    again = await add(machine, source)
    assert (again.changed, again.next_step) == (False, "")
    assert again.summary == "own is the first choice of 'main' already; nothing was changed."
    assert (listed(machine), (machine.layout.models_dir / "own.gguf").stat().st_mtime_ns) == before
    assert machine.restarts() == {"llama_expert": 1}


async def test_a_file_that_has_changed_since_is_a_new_model(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    await add(machine, make_gguf("own.gguf"))
    assert (await add(machine, make_gguf("own.gguf", padding=64))).changed
    assert machine.restarts() == {"llama_expert": 2}


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
    assert machine.restarts() == {}


@pytest.mark.parametrize("expert", ["nobody", ""])
async def test_an_expert_that_there_is_not_is_said_with_those_that_there_are(
    machine: StagedMachine, make_gguf: MakeGguf, expert: str
) -> None:
    with pytest.raises(UnknownExpertError, match=rf"no expert '{expert}' \(known: main, "):
        await add(machine, make_gguf("own.gguf"), expert=expert)
    with pytest.raises(UnknownExpertError, match=rf"no expert '{expert}' \(known: main, "):
        await machine.place.remove_model("own", expert=expert)


async def test_removing_what_is_not_there_restarts_nothing(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    await add(machine, make_gguf("own.gguf"))
    with pytest.raises(OwnModelError, match=r"main has no own model 'other' \(own models: own\)"):
        await machine.place.remove_model("other", expert="main")
    assert machine.restarts() == {"llama_expert": 1}
    assert (await machine.place.remove_model("own", expert="main")).changed
    assert machine.restarts() == {"llama_expert": 2}


async def test_the_list_says_what_is_here_and_what_is_in_use(
    machine: StagedMachine, make_gguf: MakeGguf
) -> None:
    await add(machine, make_gguf("own.gguf"))
    await machine.serve("expert-main", 4000, model=SHIPPED)
    rows = [row for row in (await machine.place.models()).data if row["expert"] == "main"]
    assert (rows[0]["name"], rows[0]["present"], rows[0]["active"]) == ("own", True, False)
    assert (rows[-1]["name"], rows[-1]["present"], rows[-1]["active"]) == (SHIPPED, True, True)
