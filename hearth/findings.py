"""What `hearth doctor` finds, and how it is shown."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from rich.table import Table
from rich.text import Text

from hearth.console import console


class Verdict(StrEnum):
    """What a check found."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """One part, how it is, and what to do about it."""

    part: str
    verdict: Verdict
    detail: str
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def good(part: str, detail: str) -> Finding:
    """A part that is as it should be."""
    return Finding(part, Verdict.GOOD, detail)


def broken(part: str, detail: str, remedy: str) -> Finding:
    """A part that is not, and what to do about it."""
    return Finding(part, Verdict.BROKEN, detail, remedy)


def print_findings(findings: list[Finding]) -> None:
    """The findings as a table, remedies included."""
    marks = {
        Verdict.GOOD: Text("✓", "green"),
        Verdict.DOUBTFUL: Text("!", "yellow"),
        Verdict.BROKEN: Text("✗", "bold red"),
    }
    table = Table(box=None, padding=(0, 1))
    for heading in ("", "part", "found", "remedy"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        table.add_row(
            marks[finding.verdict], finding.part, Text(finding.detail), Text(finding.remedy, "bold")
        )
    console.print(table)
