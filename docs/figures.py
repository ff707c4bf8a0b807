"""Puts measured figures into the pages that speak of them; benchmarks keep them in docs/results."""

import json
import re
from pathlib import Path

from docs.tables import table
from tests.subjects import is_stale

PLACE = re.compile(r"(<!-- figures: .*? (\S+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)

STALE = "*Stale: what was measured has changed since.*\n\n"


def page_with_figures(root: Path, page: str) -> str:
    """The page, with the table of the results file that it names in a comment."""

    def filled(match: re.Match[str]) -> str:
        note = STALE if is_stale(root, Path(match[2]).name) else ""
        return f"{match[1]}{note}{_figures(root / match[2])}{match[3]}"

    return PLACE.sub(filled, (root / page).read_text())


def _figures(results: Path) -> str:
    """A list of flat records, alone or under `figures`, is a table; the keys of the first are its columns."""
    kept = json.loads(results.read_text()) if results.exists() else []
    rows = kept["figures"] if isinstance(kept, dict) else kept
    if not rows:
        return "Not measured yet.\n"
    heads = tuple(rows[0])
    return table(tuple(head.replace("_", " ") for head in heads), [_cells(row, heads) for row in rows])


def _cells(row: dict[str, object], heads: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{row[head]:g}" if isinstance(row[head], float) else str(row[head]) for head in heads)
