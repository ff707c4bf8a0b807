"""How the command talks: tables for people, JSON for programs, one line for an error."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson
from rich import progress
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from clusterkit.errors import HearthError
from hearth.exit_status import EXIT_FAILED, EXIT_NOT_RUNNING
from hearth.place import NotRunningError
from hearth.tables import Cell, Report, Table, Tone

if TYPE_CHECKING:
    from clusterkit.fetch.part_file import DownloadProgress, ProgressCallback

#: Columns of a table in a pipe or a file, where no terminal says how many there are: enough to fold nothing.
_WIDTH_WITHOUT_TERMINAL = 100_000
_PROSE_COLUMNS = 12  #: what prose needs beside the other columns to be read with ease
_BORDER_COLUMNS = 3  #: the line before a column, and a space on each side of it
_PLAIN_KEYS = ("timestamp", "level", "event", "service")
_STYLES = {
    Tone.PLAIN: "",
    Tone.GOOD: "green",
    Tone.DOUBTFUL: "yellow",
    Tone.BAD: "red",
    Tone.FAINT: "dim",
    Tone.STRONG: "bold",
}

console = Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL)
errors = Console(stderr=True)


def print_report(report: Report, *, as_json: bool) -> None:
    """Print a report, for programs or for people."""
    if as_json:
        print_json(report.data)
        return
    for problem in report.problems:
        console.print(Text(problem, "red"), soft_wrap=True)
    for table in report.tables:
        print_table(table)


def print_table(table: Table) -> None:
    """Print a table; where the terminal is too narrow for its columns, each row as lines of its own."""
    widths = [_column_width(table, index) for index in range(len(table.headings))]
    fits = sum(widths) + _BORDER_COLUMNS * len(widths) + 1 <= console.width
    console.print(_as_columns(table, widths) if fits else _as_lines(table))


def _column_width(table: Table, index: int) -> int:
    """Columns that this one needs at least."""
    heading = table.headings[index]
    lines = [line for row in table.rows for line in _text(row[index]).plain.splitlines()]
    longest = max(map(cell_len, (heading, *lines)))
    return min(longest, max(cell_len(heading), _PROSE_COLUMNS)) if heading in table.prose else longest


def _as_columns(table: Table, widths: Sequence[int]) -> RichTable:
    rich = RichTable(title=table.title or None, title_justify="left", title_style="bold")
    for heading, width in zip(table.headings, widths, strict=True):
        rich.add_column(heading, overflow="fold", min_width=width, no_wrap=heading not in table.prose)
    for row in table.rows:
        rich.add_row(*map(_text, row))
    return rich


def _as_lines(table: Table) -> RenderableType:
    blocks: list[RenderableType] = [Text(table.title, "bold")] if table.title else []
    for row in table.rows:
        block = RichTable.grid(padding=(0, 1))
        block.add_column(no_wrap=True, overflow="fold")
        block.add_column(overflow="fold")
        for heading, cell in zip(table.headings, row, strict=True):
            text = _text(cell)
            if text.plain:
                block.add_row(Text(heading, "dim"), text)
        blocks += [block, Text()]
    return Group(*blocks)


def _text(cell: str | Cell) -> Text:
    return Text(cell) if isinstance(cell, str) else Text(cell.text, _STYLES[cell.tone])


def print_json(value: Any) -> None:
    """Print data for programs."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def print_line(service: str, line: str) -> None:
    """Print one line that a service wrote."""
    try:
        entry = orjson.loads(line)
        rest = " ".join(f"{key}={value}" for key, value in entry.items() if key not in _PLAIN_KEYS)
        when, level, event = entry["timestamp"][11:19], entry["level"], entry["event"]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        console.out(f"{service}: {line}", highlight=False)
        return
    style = {"error": "red", "warning": "yellow"}.get(level, "default")
    console.print(
        Text.assemble((when, "dim"), " ", (service, "cyan"), " ", (event, style), " ", (rest, "dim")),
        soft_wrap=True,
    )


def print_raw_line(_: str, line: str) -> None:
    """Print one line as it was written."""
    console.out(line, highlight=False)


def print_error(error: HearthError) -> int:
    """Say what went wrong in one line; returns the exit status that means it."""
    errors.print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
    return EXIT_NOT_RUNNING if error.code == NotRunningError.code else EXIT_FAILED


@contextmanager
def transfer(what: str) -> Iterator["ProgressCallback"]:
    """Show how far a copy or download of `what` has come, where somebody sits at a terminal."""
    with progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        console=errors,
        disable=not errors.is_terminal,
    ) as bar:
        task = bar.add_task(what, visible=False)

        def advance(state: "DownloadProgress") -> None:
            bar.update(task, completed=state.done, total=state.total, visible=True)

        yield advance
