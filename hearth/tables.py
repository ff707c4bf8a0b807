"""What is shown, before anybody knows to whom: to programs, or to people at a terminal of some width."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Tone(StrEnum):
    """How a cell is meant."""

    PLAIN = "plain"
    GOOD = "good"
    DOUBTFUL = "doubtful"
    BAD = "bad"
    FAINT = "faint"
    STRONG = "strong"


@dataclass(frozen=True)
class Cell:
    """A text with a tone; a plain `str` does where there is none."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True)
class Table:
    """Rows under headings, as many cells each as there are headings."""

    title: str  #: '' for none
    headings: tuple[str, ...]
    rows: Sequence[Sequence[str | Cell]]
    prose: frozenset[str] = frozenset()  #: headings of what may be broken between words where room is short


@dataclass(frozen=True, kw_only=True)
class Report:
    """Something to show: `data` for programs, `tables` for people."""

    data: Any
    tables: tuple[Table, ...]
    problems: tuple[str, ...] = ()  #: what concerns the whole


def health_cell(healthy: bool, detail: str) -> Cell:
    """Healthy, or what is wrong."""
    return Cell("healthy", Tone.GOOD) if healthy else Cell(detail or "not healthy", Tone.BAD)
