"""The mutants that the repository keeps, and what is wrong with an entry."""

import ast
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.repository.marks import requirements

FOLDER = Path("tests/mutants")
KEYS = ("row", "clause", "file", "from", "to")


@dataclass(frozen=True)
class Mutant:
    """One slip that a later change could make: in `file`, `before` stands once and becomes `after`.

    `clause` is the part of the row's sentence that it makes false, `place` where the entry stands.
    """

    row: str
    clause: str
    file: str
    before: str
    after: str
    place: str

    def entry(self) -> dict[str, str]:
        """What it is, wherever the entry stands."""
        return {name: value for name, value in asdict(self).items() if name != "place"}


def read_mutants(root: Path) -> list[Mutant]:
    """All mutants of the repository at `root`; raises `ValueError` naming entries of a wrong shape."""
    mutants, wrong = [], []
    for file in sorted((root / FOLDER).glob("*.yaml")):
        for number, entry in enumerate(yaml.safe_load(file.read_text()) or [], 1):
            place = f"{file.relative_to(root)}, entry {number}"
            problem = _shape(entry)
            if problem:
                wrong.append(f"{place}: {problem}")
            else:
                mutants.append(_mutant(entry, place))
    if wrong:
        raise ValueError("; ".join(wrong))
    return mutants


def _mutant(entry: dict[str, str], place: str) -> Mutant:
    row, clause, file, before, after = (entry[key] for key in KEYS)
    return Mutant(row, clause, file, before, after, place)


def _shape(entry: Any) -> str | None:
    if not isinstance(entry, dict) or set(entry) != set(KEYS):
        keys = ", ".join(map(str, entry)) if isinstance(entry, dict) else repr(entry)
        return f"has {keys}; an entry has exactly {', '.join(KEYS)}"
    not_text = [key for key in KEYS if not isinstance(entry[key], str)]
    return f"{', '.join(not_text)}: not text; quote it" if not_text else None


def problems(root: Path) -> Iterator[str]:
    """What keeps a mutant from being tried, one sentence each."""
    try:
        mutants = read_mutants(root)
    except ValueError as error:
        yield str(error)
        return
    sentences = {row["id"]: row["works_when"] for row in requirements(root)}
    counts = Counter(tuple(mutant.entry().values()) for mutant in mutants)
    for mutant in mutants:
        where = f"{mutant.place} ({mutant.row})"
        for problem in _problems(root, mutant, sentences):
            yield f"{where}: {problem}"
        if counts[tuple(mutant.entry().values())] > 1:
            yield f"{where}: the same entry stands twice"
    yield from _undefined_names(root, mutants)


def _problems(root: Path, mutant: Mutant, sentences: dict[str, str]) -> Iterator[str]:
    area = Path(mutant.place.split(",")[0]).stem
    if not mutant.row.startswith(f"{area}-"):
        yield f"belongs into {FOLDER}/{mutant.row.split('-')[0]}.yaml"
    if mutant.row not in sentences:
        yield f"there is no requirement {mutant.row}"
    elif not mutant.clause.strip() or mutant.clause not in sentences[mutant.row]:
        yield f"clause {mutant.clause!r} is no part of {sentences[mutant.row]!r}"
    if mutant.before == mutant.after:
        yield "`from` and `to` are the same"
    path = root / mutant.file
    if not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
        yield f"there is no file {mutant.file}"
        return
    times = path.read_text().count(mutant.before) if mutant.before else 0
    if times != 1:
        yield f"`from` occurs {times} times in {mutant.file}; it must occur exactly once"
    elif path.suffix == ".py":
        yield from _syntax(mutated(path.read_text(), mutant))


def _syntax(text: str) -> Iterator[str]:
    try:
        ast.parse(text)
    except SyntaxError as error:
        yield f"the mutant does not parse: line {error.lineno}: {error.msg}"


def _undefined_names(root: Path, mutants: Sequence[Mutant]) -> Iterator[str]:
    """A slip is wrong in what it says, not in a name that nobody defined: any test sees that."""
    with tempfile.TemporaryDirectory() as folder:
        for number, mutant in enumerate(mutants):
            file = root / mutant.file
            if file.suffix == ".py" and file.is_file():
                Path(folder, f"{number}.py").write_text(mutated(file.read_text(), mutant))
        ruff = (str(Path(sys.prefix) / "bin/ruff"), "check", "--isolated", "--no-cache", "--quiet")
        done = subprocess.run(
            [*ruff, "--select=F821", "--output-format=concise", "."],
            cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    for line in done.stdout.splitlines():
        name, _, problem = line.partition(".py:")
        mutant = mutants[int(name)]
        yield f"{mutant.place} ({mutant.row}): {mutant.file}:{problem}"


def mutated(text: str, mutant: Mutant) -> str:
    """The text of the mutant's file after the slip."""
    return text.replace(mutant.before, mutant.after, 1)
