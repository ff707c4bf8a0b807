"""What `hearth doctor` finds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from hearth.tables import Cell, Report, Table, Tone


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


def good(part: str, detail: str) -> Finding:
    """A part that is as it should be."""
    return Finding(part, Verdict.GOOD, detail)


def broken(part: str, detail: str, remedy: str) -> Finding:
    """A part that is not, and what to do about it."""
    return Finding(part, Verdict.BROKEN, detail, remedy)


def findings_report(findings: Sequence[Finding]) -> Report:
    """The findings, remedies included."""
    marks = {
        Verdict.GOOD: Cell("✓", Tone.GOOD),
        Verdict.DOUBTFUL: Cell("!", Tone.DOUBTFUL),
        Verdict.BROKEN: Cell("✗", Tone.BAD),
    }
    rows = [
        (marks[finding.verdict], finding.part, finding.detail, Cell(finding.remedy, Tone.STRONG))
        for finding in findings
    ]
    prose = frozenset({"part", "found", "remedy"})
    table = Table("", ("", "part", "found", "remedy"), rows, prose=prose)
    return Report(data=[asdict(finding) for finding in findings], tables=(table,))
