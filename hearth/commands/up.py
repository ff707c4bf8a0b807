"""`hearth up`."""

import asyncio

import click

from hearth.places import choose_place


@click.command
@click.option("--detach", "-d", is_flag=True, help="Return once everything is healthy.")
def up(detach: bool) -> None:
    """Start everything; without --detach, stay until Ctrl-C."""
    asyncio.run(choose_place().up(detach=detach))
