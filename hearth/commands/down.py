"""`hearth down`."""

import asyncio

import click

from hearth.places import choose_place


@click.command
def down() -> None:
    """Stop everything."""
    stopped = asyncio.run(choose_place().down())
    click.echo("Hearth has stopped." if stopped else "Hearth was not running.")
