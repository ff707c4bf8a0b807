"""`hearth status`."""

import asyncio
import sys

import click

from hearth.choose import choose_place
from hearth.commands import arguments
from hearth.exit_status import EXIT_FAILED


@click.command
@arguments.as_json
def status(as_json: bool) -> None:
    """What runs and how it is.

    Exit status 1 when something is not healthy, 3 when nothing runs.
    """
    from hearth.console import show

    state = asyncio.run(choose_place().state())
    show(state, as_json=as_json)
    if not state.healthy:
        sys.exit(EXIT_FAILED)
