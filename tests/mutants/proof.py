"""Whether a row is proved: every clause of its sentence has a mutant that a marked test killed."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.catalogue import read_mutants
from tests.mutants.results import identity, read_results
from tests.repository.marks import marked_tests, requirements

#: Words that hold clauses together and claim nothing themselves.
CONNECTIVES = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "be", "both", "but", "by", "each", "either"),
        *("for", "from", "in", "into", "is", "it", "its", "of", "on", "or", "so", "that"),
        *("the", "their", "them", "then", "there", "these", "they", "this", "those", "to", "too", "via"),
        *("when", "where", "which", "while", "with"),
    )
)
WORD = re.compile(r"[^\W_](?:[\w.'-]*\w)?")


@dataclass(frozen=True)
class Proof:
    """`open`: no marked test; `partly`: parts of the sentence have no killed mutant; or `proved`."""

    status: str
    tests: tuple[str, ...]
    #: The parts of the sentence that no killed mutant makes false.
    missing: tuple[str, ...]


def proofs(root: Path) -> dict[str, Proof]:
    """Row id → how far it is proved, for every row."""
    marked, results = marked_tests(root), read_results(root)
    killed: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for mutant in read_mutants(root):
        verdict = results.get(identity(mutant), {}).get("verdict")
        side = killed if verdict == "killed" else others
        side.setdefault(mutant.row, []).append(mutant.clause)
    return {
        row["id"]: _proof(
            row["works_when"],
            marked.get(row["id"], ()),
            killed.get(row["id"], ()),
            others.get(row["id"], ()),
        )
        for row in requirements(root)
    }


def _proof(sentence: str, tests: Sequence[str], killed: Iterable[str], others: Iterable[str]) -> Proof:
    if not tests:
        return Proof("open", (), ())
    missing = tuple(unproved(sentence, killed, others))
    return Proof("partly" if missing else "proved", tuple(tests), missing)


def unproved(sentence: str, killed: Iterable[str], others: Iterable[str] = ()) -> list[str]:
    """The stretches of a sentence that are in no clause of a killed mutant.

    A clause with a mutant that no test saw is not proved by another that one did: `others` are such clauses.
    """
    proved = _letters(sentence, killed) - _letters(sentence, others)
    trimmed = (_trimmed(stretch) for stretch in _stretches(sentence, proved))
    return [sentence[words[0].start() : words[-1].end()] for words in trimmed if words]


def _letters(sentence: str, clauses: Iterable[str]) -> set[int]:
    letters = set()
    for clause in clauses:
        start = sentence.find(clause)
        while start >= 0:
            letters |= set(range(start, start + len(clause)))
            start = sentence.find(clause, start + 1)
    return letters


def _stretches(sentence: str, proved: set[int]) -> Iterator[list[re.Match[str]]]:
    stretch: list[re.Match[str]] = []
    for word in WORD.finditer(sentence):
        if set(range(*word.span())) <= proved:
            yield stretch
            stretch = []
        else:
            stretch.append(word)
    yield stretch


def _trimmed(words: list[re.Match[str]]) -> list[re.Match[str]]:
    """Without the connectives at its ends; nothing is left of connectives alone."""
    claims = [number for number, word in enumerate(words) if word[0].lower() not in CONNECTIVES]
    return words[claims[0] : claims[-1] + 1] if claims else []
