"""`hearth logs`."""

import asyncio

import click

from hearth.commands import arguments
from hearth.places import choose_place


@click.command
@click.argument("service", required=False)
@click.option(
    "--lines",
    "-n",
    type=click.IntRange(min=1),
    default=30,
    show_default=True,
    help="How many of the last lines.",
)
@click.option("--follow", "-f", is_flag=True, help="Go on as more is written.")
@arguments.as_json
def logs(service: str | None, lines: int, follow: bool, as_json: bool) -> None:
    """What SERVICE wrote, or all of them when it is left out."""
    from hearth.console import print_line, print_raw_line

    write = print_raw_line if as_json else print_line
    asyncio.run(choose_place().logs(service, lines=lines, follow=follow, write=write))
