"""`hearth model list`, `get`, `add`, `remove`, `load` and `unload`."""

import asyncio

import click

from hearth.commands import arguments
from hearth.place import ModelChange
from hearth.places import choose_place


@click.group
def model() -> None:
    """Which models the experts use."""


@model.command("list")
@arguments.as_json
def list_models(as_json: bool) -> None:
    """Every expert's models, in the order in which they are tried."""
    from hearth.console import print_report

    print_report(asyncio.run(choose_place().models()), as_json=as_json)
    if not as_json:
        _hint("Fetch one with: hearth model get NAME; add your own with: hearth model add PATH|URL")


@model.command
@click.argument("source")
@arguments.expert
@click.option("--sha256", help="What the file's SHA-256 must be.")
@click.option("--name", help="What to call it; from the file name by default.")
def add(source: str, expert: str, sha256: str | None, name: str | None) -> None:
    """Make your own model the first choice of an expert.

    SOURCE is a GGUF file, or an http(s) address of one.
    """
    from hearth.console import transfer

    place = choose_place()
    with transfer(source.rsplit("/", 1)[-1]) as progress:
        change = asyncio.run(
            place.add_model(source, expert=expert, sha256=sha256, name=name, progress=progress)
        )
    _tell(change)


@model.command
@click.argument("name")
@arguments.as_json
def get(name: str, as_json: bool) -> None:
    """Bring the model NAME, as `hearth model list` shows it, to this machine."""
    from hearth.console import print_json, transfer

    place = choose_place()
    with transfer(name) as progress:
        change = asyncio.run(place.get_model(name, progress=progress))
    if as_json:
        print_json({"name": name, "fetched": change.changed})
    else:
        _tell(change)


@model.command
@click.argument("name")
@arguments.expert
def remove(name: str, expert: str) -> None:
    """Take your own model NAME off an expert's list, or delete the file of a model that was fetched."""
    _tell(asyncio.run(choose_place().remove_model(name, expert=expert)))


@model.command
@click.argument("name")
def load(name: str) -> None:
    """Have the model of the expert NAME in memory now; what did not load before is tried again."""
    _tell(asyncio.run(choose_place().load_model(name)))


@model.command
@click.argument("name")
def unload(name: str) -> None:
    """Free the memory that the model of the expert NAME takes, until it is asked for again."""
    _tell(asyncio.run(choose_place().unload_model(name)))


def _tell(change: ModelChange) -> None:
    click.echo(change.summary)
    if change.next_step:
        _hint(change.next_step)


def _hint(text: str) -> None:
    click.secho(text, dim=True)
