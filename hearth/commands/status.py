"""`hearth status`."""

import asyncio
import sys

import click

from hearth.commands import arguments
from hearth.exit_status import EXIT_FAILED
from hearth.places import choose_place


@click.command
@arguments.as_json
def status(as_json: bool) -> None:
    """What runs and how it is.

    Exit status 1 when something is not healthy, 3 when nothing runs.
    """
    from hearth.console import print_report

    state = asyncio.run(choose_place().state())
    print_report(state, as_json=as_json)
    if not state.healthy:
        sys.exit(EXIT_FAILED)
