"""How the command talks: tables for people, JSON for programs, one line for an error."""

import asyncio
import json
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from clusterkit.config.settings import load_settings
from clusterkit.errors import HearthError
from hearth.house import House, find_house
from hearth.settings import HearthSettings

EXIT_FAILED = 1  #: something is not as it should be
EXIT_NOT_RUNNING = 3  #: the command needs a running Hearth

Value = TypeVar("Value")

#: Columns of a table in a pipe or a file, where no terminal says how many there are: enough to fold nothing.
_WIDTH_WITHOUT_TERMINAL = 500

console = Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL)
errors = Console(stderr=True)


class OneMachineOnlyError(HearthError):
    """The command makes no sense on a host of a cluster."""

    code = "one_machine_only"


def cluster_settings() -> HearthSettings | None:
    """The settings when this host belongs to a cluster, else None. Raises `SettingsError`."""
    settings = load_settings(HearthSettings)
    return settings if settings.consul_url is not None else None


def refuse_in_cluster(command: str, instead: str) -> None:
    """Raises `OneMachineOnlyError` on a host of a cluster, saying what does there what `command` would."""
    if cluster_settings() is not None:
        raise OneMachineOnlyError(
            f"this host belongs to a cluster, where Nomad runs the services: `hearth {command}` is for one "
            f"machine; {instead}"
        )


def here() -> House:
    """The house that the environment names."""
    return find_house(load_settings(HearthSettings).home)


def wait_for(work: Coroutine[Any, Any, Value]) -> Value:
    """Run async work to its end."""
    return asyncio.run(work)


def table(title: str, *headings: str) -> Table:
    """A table for people. Where there is little room, explanations fold, never a name or a URL."""
    explanations = ("health", "model", "for")
    made = Table(title=title, title_justify="left", title_style="bold")
    for heading in headings:
        made.add_column(heading, overflow="fold", no_wrap=heading not in explanations)
    return made


def print_json(value: Any) -> None:
    """Print data for programs."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def explain(error: HearthError) -> int:
    """Say what went wrong in one line; returns the exit status that means it."""
    errors.print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
    return EXIT_NOT_RUNNING if error.code == "not_running" else EXIT_FAILED
