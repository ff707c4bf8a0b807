"""`hearth model`: which models the experts may use, and a person's own in front of them."""

from typing import Any

from rich import progress as rich_progress
from rich.table import Table
from rich.text import Text

from clusterkit.config.catalogue import load_catalogue
from clusterkit.config.own_models import prepend_own_model, remove_own_model
from clusterkit.config.settings import load_settings
from clusterkit.errors import HearthError
from hearth.console import console, errors
from hearth.control import Control, NotRunningError
from hearth.house import House
from hearth.lock import holder
from llama_expert.add_model import add_model
from llama_expert.memory import free_memory_mb
from llama_expert.model_file import find_model
from llama_expert.part_file import Progress
from llama_expert.settings import LlamaExpertSettings


class UnknownExpertError(HearthError):
    """There is no expert of that name."""

    code = "unknown_expert"


def known_expert(house: House, expert: str) -> str:
    """`expert`, if there is one of that name. Raises `UnknownExpertError`, `ConfigFileError`."""
    known = load_catalogue(house.models_file, house.own_models_file).experts
    if expert not in known:
        raise UnknownExpertError(f"there is no expert {expert!r} (known: {', '.join(known)})")
    return expert


async def list_models(house: House) -> list[dict[str, Any]]:
    """Every expert's models in order of preference, as plain data."""
    catalogue = load_catalogue(house.models_file, house.own_models_file)
    active: dict[str, str] = {}
    if holder(house.lock_file) is not None:
        active = {one.service: one.meta.get("model", "") for one in await Control(house).instances()}
    return [
        {
            "expert": name,
            "name": model.name,
            "memory_mb": model.memory_mb,
            "present": find_model(model, house.models_dir) is not None,
            "active": active.get(expert.service_name) == model.name,
            "url": model.url,
        }
        for name, expert in catalogue.experts.items()
        for model in expert.models
    ]


def print_models(rows: list[dict[str, Any]]) -> None:
    """The models as a table."""
    table = Table()
    for heading in ("expert", "model", "memory", "on this machine", "in use"):
        table.add_column(heading)
    before = None
    for row in rows:
        expert = row["expert"] if row["expert"] != before else ""
        before = row["expert"]
        table.add_row(
            expert,
            row["name"],
            f"{row['memory_mb']} MB",
            Text("yes", "green") if row["present"] else Text("no", "dim"),
            Text("●", "green") if row["active"] else "",
        )
    console.print(table)
    console.print("Add your own with: hearth model add PATH|URL", style="dim")


async def add(house: House, source: str, expert: str, sha256: str | None, name: str | None) -> None:
    """Fetch a model file and make it the first choice of `expert`. Raises `HearthError`."""
    known_expert(house, expert)
    settings = load_settings(LlamaExpertSettings)
    with rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn(),
        rich_progress.TransferSpeedColumn(),
        console=errors,
        disable=not errors.is_terminal,
    ) as bar:
        task = bar.add_task(source.rsplit("/", 1)[-1])

        def progress(state: Progress) -> None:
            bar.update(task, completed=state.done, total=state.total)

        spec = await add_model(
            source,
            expert,
            models_dir=house.models_dir,
            free_mb=settings.memory_mb or free_memory_mb(),
            reserve_mb=settings.reserve_mb,
            context=settings.context,
            sha256=sha256,
            name=name,
            progress=progress,
        )
    prepend_own_model(house.own_models_file, expert, spec)
    console.print(f"{spec.name} ({spec.memory_mb} MB) is now the first choice of {expert!r}.")
    await _apply(house)


async def remove(house: House, name: str, expert: str) -> None:
    """Take a person's own model off `expert`'s list; its file stays. Raises `HearthError`."""
    known_expert(house, expert)
    remove_own_model(house.own_models_file, expert, name)
    console.print(f"{name} is off the list of {expert!r}; its file stays in {house.models_dir}.")
    await _apply(house)


async def _apply(house: House) -> None:
    try:
        await Control(house).restart("llama_expert")
    except NotRunningError:
        console.print("Start Hearth to use it: hearth up", style="dim")
    else:
        console.print("The model servers are starting anew; see: hearth status", style="dim")
