"""Did you mean …? The one place that compares an unknown word with the known ones."""

import difflib
from collections.abc import Iterable


def closest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known word that looks most like `word`; None when none reaches `cutoff` (a ratio of difflib)."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)


def suggest(word: str, known: Iterable[str]) -> str:
    """' (did you mean …? known: …)' for an unknown `word`, or '' when nothing is known."""
    ordered = sorted(known)
    if not ordered:
        return ""
    close = closest(word, ordered)
    guess = f"did you mean {close!r}? " if close else ""
    return f" ({guess}known: {', '.join(ordered)})"
