"""The command line: a new command is a module in this folder and its place in the list here."""

import click

from hearth.commands.ask import ask
from hearth.commands.doctor import doctor
from hearth.commands.down import down
from hearth.commands.logs import logs
from hearth.commands.model import model
from hearth.commands.status import status
from hearth.commands.up import up
from hearth.version import print_version


class _InThisOrder(click.Group):
    def list_commands(self, _: click.Context) -> list[str]:
        return list(self.commands)


def _print_version_and_end(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        print_version()
        context.exit()


@click.group(cls=_InThisOrder, commands=[up, down, status, logs, ask, doctor, model])
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version_and_end,
    help="Print the version and end.",
)
def app() -> None:
    """A private AI household, on this machine or on a cluster."""
