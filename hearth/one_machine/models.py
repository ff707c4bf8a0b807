"""Which models the experts of this machine may use, and a person's own in front of them."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from clusterkit.config.catalogue import Catalogue, ExpertSpec, ModelSpec, load_catalogue
from clusterkit.config.own_models import prepend_own_model, remove_own_model
from clusterkit.config.settings import load_settings
from clusterkit.errors import HearthError
from clusterkit.fetch.part_file import ProgressCallback
from hearth.one_machine.control import Control
from hearth.one_machine.experts import ExpertsNotStartedError, command_experts
from hearth.one_machine.layout import Layout
from hearth.place import ModelChange, NotRunningError
from hearth.tables import Cell, Report, Table, Tone
from llama_expert.add_model import add_model, is_in_place, requested_model
from llama_expert.choose import FileFacts, needed_mb
from llama_expert.fetch import UnknownModelError, fetch_named
from llama_expert.gguf import MEBIBYTE
from llama_expert.memory import free_memory_mb, total_memory_mb
from llama_expert.model_file import find_model
from llama_expert.settings import LlamaExpertSettings


class UnknownExpertError(HearthError):
    """There is no expert of that name."""

    code = "unknown_expert"


class NameTakenError(HearthError):
    """A shipped model of that expert has the name already."""

    code = "name_taken"


class ModelInUseError(HearthError):
    """An expert uses the model and has no other one on this machine."""

    code = "model_in_use"


class UnusableError(HearthError):
    """An expert has no model that can be used."""

    code = "no_usable_model"


async def models_report(layout: Layout) -> Report:
    """Every expert's models in order of preference. Raises `ConfigFileError`."""
    catalogue = load_catalogue(layout.models_file, layout.own_models_file)
    settings = load_settings(LlamaExpertSettings)
    room = (settings.memory_mb or total_memory_mb()) - settings.reserve_mb
    active = await _active(layout)
    rows = await asyncio.to_thread(lambda: list(_rows(layout, catalogue, active, room)))
    return Report(data=rows, tables=(models_table(rows),))


async def _active(layout: Layout) -> Mapping[str, str]:
    try:
        state = await Control(layout).state()
    except NotRunningError:
        return {}
    return {one.service: one.meta.get("model", "") for one in state.of("llama_expert")}


def _rows(
    layout: Layout, catalogue: Catalogue, active: Mapping[str, str], room: int
) -> Iterable[dict[str, Any]]:
    for name, expert in catalogue.experts.items():
        for model in expert.models:
            found = find_model(model, layout.models_dir)
            size = model.bytes if found is None else found.stat().st_size
            yield {
                "expert": name,
                "name": model.name,
                "memory_mb": model.memory_mb,
                "bytes": size,
                "fits": needed_mb(model, FileFacts(size_mb=(size or 0) / MEBIBYTE)) <= room,
                "present": found is not None,
                "active": active.get(expert.service_name) == model.name,
                "licence": model.licence,
                "verified": model.sha256 is not None,
                "url": model.url,
            }


def models_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """The models, each expert named once."""
    shown: list[tuple[str | Cell, ...]] = []
    before = None
    for row in rows:
        shown.append(
            (
                row["expert"] if row["expert"] != before else "",
                row["name"],
                f"{row['memory_mb']} MB",
                f"{-(-row['bytes'] // MEBIBYTE)} MB" if row["bytes"] else "-",
                "yes" if row["fits"] else Cell("no", Tone.FAINT),
                Cell("yes", Tone.GOOD) if row["present"] else Cell("no", Tone.FAINT),
                Cell("●", Tone.GOOD) if row["active"] else "",
            )
        )
        before = row["expert"]
    headings = ("expert", "model", "memory", "disk", "fits", "on this machine", "in use")
    return Table("", headings, shown, prose=frozenset({"on this machine", "in use"}))


async def get_listed(layout: Layout, name: str, progress: ProgressCallback) -> ModelChange:
    """See `Place.get_model`; what is here and whole is not fetched again. Raises `HearthError`."""
    catalogue = load_catalogue(layout.models_file)
    if not await fetch_named(catalogue, layout.models_dir, name, progress):
        return ModelChange(changed=False, summary=f"{name} is here already, and whole.")
    users = [expert.name for expert in catalogue.experts.values() if _lists(expert, name)]
    purpose = f" for {', '.join(users)}" if users else ""
    next_step = await _apply(layout) if users else ""
    return ModelChange(changed=True, summary=f"{name} is here{purpose}.", next_step=next_step)


def _lists(expert: ExpertSpec, name: str) -> bool:
    return any(model.name == name for model in expert.models)


async def add_first_choice(
    layout: Layout,
    source: str,
    expert: str,
    sha256: str | None,
    name: str | None,
    progress: ProgressCallback,
) -> ModelChange:
    """See `Place.add_model`; what is there already is not fetched again. Raises `HearthError`."""
    requested = requested_model(source, sha256=sha256, name=name)
    _refuse_taken_name(layout, expert, requested.name)
    catalogue = load_catalogue(layout.models_file, layout.own_models_file)
    first = _models_of(catalogue, expert)[0]
    if await asyncio.to_thread(is_in_place, requested, first, layout.models_dir):
        summary = f"{first.name} is the first choice of {expert!r} already; nothing was changed."
        return ModelChange(changed=False, summary=summary)
    settings = load_settings(LlamaExpertSettings)
    spec = await add_model(
        source,
        expert,
        models_dir=layout.models_dir,
        free_mb=settings.memory_mb or free_memory_mb(),
        reserve_mb=settings.reserve_mb,
        context=settings.context,
        sha256=sha256,
        name=name,
        progress=progress,
    )
    prepend_own_model(layout.own_models_file, expert, _as_listed(catalogue, spec))
    return ModelChange(
        changed=True,
        summary=f"{spec.name} ({spec.memory_mb} MB) is now the first choice of {expert!r}.",
        next_step=await _apply(layout),
    )


def _as_listed(catalogue: Catalogue, spec: ModelSpec) -> ModelSpec:
    """What the catalogue knows of a file holds for it wherever it came from: how it calls tools above all."""
    same = (one for one in catalogue.models.values() if one.sha256 == spec.sha256)
    listed = next(same, spec)
    known = {name: getattr(listed, name) for name in ("tools", "context", "repeat_penalty")}
    return spec.model_copy(update=known)


def _refuse_taken_name(layout: Layout, expert: str, name: str) -> None:
    """Raises `NameTakenError`, `UnknownExpertError`, `ConfigFileError`, before anything is fetched."""
    shipped = _models_of(load_catalogue(layout.models_file), expert)
    if any(model.name == name for model in shipped):
        raise NameTakenError(
            f"the expert {expert!r} has a shipped model {name!r}; choose another name with --name"
        )


def _models_of(catalogue: Catalogue, expert: str) -> tuple[ModelSpec, ...]:
    if expert not in catalogue.experts:
        raise UnknownExpertError(f"there is no expert {expert!r} (known: {', '.join(catalogue.experts)})")
    return catalogue.experts[expert].models


async def remove_choice(layout: Layout, name: str, expert: str) -> ModelChange:
    """See `Place.remove_model`; the file of an own model stays. Raises `HearthError`."""
    catalogue = load_catalogue(layout.models_file, layout.own_models_file)
    own = [model.name for model in _models_of(catalogue, expert) if model.licence is None]
    if name in own or name not in catalogue.models:
        remove_own_model(layout.own_models_file, expert, name)
        return ModelChange(
            changed=True,
            summary=f"{name} is off the list of {expert!r}; its file stays in {layout.models_dir}.",
            next_step=await _apply(layout),
        )
    return await _delete_fetched(layout, catalogue, catalogue.models[name])


async def _delete_fetched(layout: Layout, catalogue: Catalogue, model: ModelSpec) -> ModelChange:
    file = layout.models_dir / model.filename
    if not await asyncio.to_thread(file.is_file):
        where = "ships with Hearth" if model.package else "is not on this machine"
        raise UnknownModelError(f"{model.name} {where}; there is no file of it to delete")
    active = await _active(layout)
    stranded = [
        expert.name
        for expert in catalogue.experts.values()
        if active.get(expert.service_name) == model.name
        and not await asyncio.to_thread(_has_another, layout, expert, model)
    ]
    if stranded:
        raise ModelInUseError(
            f"{model.name} is in use by {', '.join(stranded)}, which has no other model here"
        )
    size = (await asyncio.to_thread(file.stat)).st_size
    await asyncio.to_thread(file.unlink)
    in_use = model.name in active.values()
    return ModelChange(
        changed=True,
        summary=f"{model.name} is deleted; {-(-size // MEBIBYTE)} MB are free again.",
        next_step=await _apply(layout) if in_use else "",
    )


def _has_another(layout: Layout, expert: ExpertSpec, model: ModelSpec) -> bool:
    others = (other for other in expert.models if other.name != model.name)
    return any(find_model(other, layout.models_dir) is not None for other in others)


async def _apply(layout: Layout) -> str:
    """Have the model servers look at the lists; returns what there is left to do for a person."""
    try:
        await command_experts(layout, "/experts/refresh")
    except NotRunningError:
        return "Start Hearth to use it: hearth up"
    except ExpertsNotStartedError:
        return "The model servers are just starting, and notice it within half a minute; see: hearth status"
    return "The change is made while the experts go on answering; see: hearth status"


async def load_model(layout: Layout, expert: str) -> ModelChange:
    """See `Place.load_model`. Raises `HearthError`."""
    _models_of(load_catalogue(layout.models_file, layout.own_models_file), expert)
    state = await command_experts(layout, f"/experts/{expert}/load")
    if state["model"] is None:
        raise UnusableError(f"{expert!r}: {state['detail']}")
    if state["state"] == "ready" and not state["next_model"]:
        return ModelChange(changed=False, summary=f"{state['model']} is in memory already.")
    loading = state["next_model"] or state["model"]
    return ModelChange(changed=True, summary=f"{loading} is loading.", next_step="See: hearth status")


async def unload_model(layout: Layout, expert: str) -> ModelChange:
    """See `Place.unload_model`. Raises `HearthError`."""
    _models_of(load_catalogue(layout.models_file, layout.own_models_file), expert)
    unloading = await command_experts(layout, f"/experts/{expert}/unload")
    others = ", ".join(unloading["shared_with"])
    shared = f" So does that of {others}: it is the same." if others else ""
    return ModelChange(
        changed=True,
        summary=f"The model of {expert!r} leaves memory when its last answer is finished.{shared}",
        next_step=f"It is loaded again when it is asked for, or with: hearth model load {expert}",
    )
