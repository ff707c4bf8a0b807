"""Did you mean …? The one place that compares an unknown word with those there are."""

import difflib
from collections.abc import Iterable


def closest(word: str, choices: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The choice that looks most like `word`; None when none reaches `cutoff` (a ratio of difflib)."""
    return next(iter(difflib.get_close_matches(word, list(choices), n=1, cutoff=cutoff)), None)


def suggest(word: str, choices: Iterable[str]) -> str:
    """' (did you mean …? known: …)' for an unknown `word`, or '' without `choices`."""
    ordered = sorted(choices)
    if not ordered:
        return ""
    close = closest(word, ordered)
    guess = f"did you mean {close!r}? " if close else ""
    return f" ({guess}known: {', '.join(ordered)})"
