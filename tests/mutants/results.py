"""What became of each mutant, kept in `docs/results/mutants.json` with a hash of what it is about."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.mutants.catalogue import Mutant
from tests.mutants.run import Verdict

RESULTS = Path("docs/results/mutants.json")
Results = dict[str, dict[str, Any]]


def identity(mutant: Mutant) -> str:
    """The mutant itself, wherever its entry stands and whatever became of its file."""
    return _hash(json.dumps(mutant.entry(), sort_keys=True).encode())


def about(root: Path, mutant: Mutant, tests: Iterable[str]) -> str:
    """A hash of what a verdict is about: the entry, the file it changes, the files of the marked tests."""
    files = sorted({mutant.file, *(test.split("::")[0] for test in tests)})
    parts = [identity(mutant).encode()]
    parts += [f"{file}\0".encode() + (root / file).read_bytes() for file in files]
    return _hash(b"\0".join(parts))


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def read_results(root: Path) -> Results:
    """The kept results by the mutant's identity."""
    path = root / RESULTS
    return {one["id"]: one for one in json.loads(path.read_text())} if path.is_file() else {}


def keep(
    root: Path,
    tried_in: Path,
    verdicts: Iterable[Verdict],
    mutants: Sequence[Mutant],
    marked: Mapping[str, Sequence[str]],
) -> None:
    """Write new verdicts among the kept ones; those of mutants that are gone go too.

    They are about the copy `tried_in`: what is at `root` may have been edited meanwhile.
    """
    results = read_results(root)
    for verdict in verdicts:
        mutant = verdict.mutant
        results[identity(mutant)] = {
            "row": mutant.row,
            "clause": mutant.clause,
            "file": mutant.file,
            "verdict": verdict.verdict,
            "note": verdict.note,
            "seconds": round(verdict.seconds, 1),
            "about": about(tried_in, mutant, marked.get(mutant.row, ())),
            "id": identity(mutant),
        }
    live = {identity(mutant) for mutant in mutants}
    kept = sorted(
        (one for one in results.values() if one["id"] in live), key=lambda one: (one["row"], one["id"])
    )
    # A line each, so that two branches that add results seldom meet.
    lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in kept)
    (root / RESULTS).parent.mkdir(parents=True, exist_ok=True)
    (root / RESULTS).write_text(f"[\n{lines}\n]\n" if lines else "[]\n")


def changed(root: Path, mutants: Iterable[Mutant], marked: Mapping[str, Sequence[str]]) -> list[Mutant]:
    """The mutants that were killed once, and of which the file or a marked test has changed since."""
    results = read_results(root)
    return [
        mutant
        for mutant in stale(root, mutants, marked)
        if results.get(identity(mutant), {}).get("verdict") == "killed"
    ]


def stale(root: Path, mutants: Iterable[Mutant], marked: Mapping[str, Sequence[str]]) -> list[Mutant]:
    """The mutants that were never tried, or of which the file or a marked test has changed since."""
    results = read_results(root)
    return [
        mutant
        for mutant in mutants
        if results.get(identity(mutant), {}).get("about") != about(root, mutant, marked.get(mutant.row, ()))
    ]
