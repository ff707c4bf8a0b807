"""Every mutant that the repository keeps can be tried."""

from pathlib import Path

from tests.mutants.catalogue import problems

ROOT = Path(__file__).resolve().parents[2]


def test_every_mutant_applies() -> None:
    assert list(problems(ROOT)) == []
