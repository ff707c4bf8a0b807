"""A toy repository with one row, broken in every way that the tool has a word for."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from tests.mutants.__main__ import main
from tests.mutants.catalogue import problems, read_mutants
from tests.mutants.proof import proofs, unproved
from tests.mutants.results import changed, stale
from tests.mutants.run import RowRun, run_tests, try_mutant
from tests.mutants.scratch import Scratch
from tests.repository.marks import marked_tests

ROOT = Path(__file__).resolve().parents[3]
ADD = {
    "row": "TOY-01",
    "clause": "Adds two numbers",
    "file": "toy/sums.py",
    "from": "return a + b",
    "to": "return a - b",
}
NAMES = {**ADD, "clause": "a wrong one is named", "from": '{one!r} is no number"', "to": 'no number"'}
FILES = {
    "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\nmarkers = ["req(id): a row"]\n'
    'addopts = "--strict-markers --import-mode=importlib"\n',
    "docs/requirements.csv": "id,area,feature,works_when\n"
    'TOY-01,toys,sums,"Adds two numbers, and a wrong one is named"\nTOY-02,toys,more,Counts\n',
    "toy/__init__.py": "",
    "toy/sums.py": "def add(a, b):\n    for one in (a, b):\n        if not isinstance(one, int):\n"
    '            raise TypeError(f"{one!r} is no number")\n    return a + b\n',
    "toy/__main__.py": "from toy.sums import add\n\nprint(add(2, 3))\n",
    "tests/test_sums.py": "import pytest\n\nfrom toy.sums import add\n\n\n"
    '@pytest.mark.req("TOY-01")\ndef test_it_adds():\n    assert add(2, 3) == 5\n\n\n'
    "def test_that_carries_no_mark():\n"
    '    with pytest.raises(TypeError, match="\'x\' is no number"):\n        add(2, "x")\n',
}


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A repository in which everything is well."""
    root = tmp_path / "toy-repository"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def plant(root: Path, *entries: dict[str, str], area: str = "TOY") -> None:
    file = root / f"tests/mutants/{area}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(list(entries), sort_keys=False))


def verdicts(root: Path) -> list[tuple[str, str]]:
    """What the results file says: clause and verdict."""
    return [
        (one["clause"], one["verdict"])
        for one in json.loads((root / "docs/results/mutants.json").read_text())
    ]


def note(root: Path) -> str:
    (result,) = json.loads((root / "docs/results/mutants.json").read_text())
    return str(result["note"])


def test_a_mutant_that_a_marked_test_sees_is_killed(toy: Path) -> None:
    plant(toy, ADD)
    assert main([], toy) == 0
    assert verdicts(toy) == [("Adds two numbers", "killed")]
    assert (toy / "toy/sums.py").read_text() == FILES["toy/sums.py"]


def test_a_mutant_that_only_an_unmarked_test_sees_survives(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(toy, ADD, NAMES)
    assert main([], toy) == 1
    assert sorted(verdicts(toy)) == [("Adds two numbers", "killed"), ("a wrong one is named", "survived")]
    assert "1 killed, 1 survived" in capsys.readouterr().out


def test_a_file_that_is_no_python_is_mutated_too(toy: Path) -> None:
    (toy / "toy/sums.yaml").write_text("answer: 5\n")
    test = toy / "tests/test_sums.py"
    test.write_text(
        test.read_text().replace(
            "== 5", '== int((Path(__file__).parents[1] / "toy/sums.yaml").read_text().split()[1])'
        )
    )
    test.write_text(f"from pathlib import Path\n{test.read_text()}")
    plant(toy, {**ADD, "file": "toy/sums.yaml", "from": "answer: 5", "to": "answer: 6"})
    assert main([], toy) == 0


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"from": "return a * b"}, "occurs 0 times in toy/sums.py"),
        ({"from": "one"}, "occurs 3 times"),
        ({"to": "return a + b"}, "the same"),
        ({"file": "toy/gone.py"}, "there is no file toy/gone.py"),
        ({"file": "../outside.py"}, "there is no file ../outside.py"),
        ({"clause": "Multiplies"}, "'Multiplies' is no part of 'Adds two numbers, and"),
        ({"clause": " "}, "is no part of"),
        ({"row": "TOY-99"}, "there is no requirement TOY-99"),
        ({"row": "SUM-01"}, "belongs into tests/mutants/SUM.yaml"),
        ({"to": "return a +"}, "does not parse: line 5"),
        ({"to": "return missing"}, "toy/sums.py:5:12: F821 Undefined name `missing`"),
    ],
)
def test_an_entry_that_cannot_be_tried_is_named(toy: Path, change: dict[str, str], problem: str) -> None:
    (toy.parent / "outside.py").write_text(FILES["toy/sums.py"])
    plant(toy, ADD)
    assert list(problems(toy)) == []
    plant(toy, {**ADD, **change})
    told = "; ".join(problems(toy))
    assert problem in told
    assert told.startswith("tests/mutants/TOY.yaml, entry 1 (")
    assert main([], toy) == 2


def test_an_entry_of_another_shape_is_named(toy: Path) -> None:
    plant(toy, ADD, {**ADD, "why": "because"}, {**ADD, "to": 7})  # type: ignore[dict-item]
    told = "; ".join(problems(toy))
    assert "entry 2: has row, clause, file, from, to, why; an entry has exactly" in told
    assert "entry 3: to: not text" in told
    plant(toy, ADD, ADD)
    assert all("stands twice" in problem for problem in problems(toy))


def test_a_mutant_that_breaks_everything_proves_nothing(toy: Path) -> None:
    plant(toy, {**ADD, "to": "return a + b\n\n\nraise ImportError"})
    assert main([], toy) == 1
    assert verdicts(toy) == [("Adds two numbers", "bad")]
    assert "E   ImportError" in note(toy)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("assert add(2, 3) == 5", 'pytest.skip("not today")', "test_it_adds is skipped: a skipped test"),
        ("assert add(2, 3) == 5", "assert add(2, 3) == 6", "without it, tests.test_sums.test_it_adds fails"),
        ('@pytest.mark.req("TOY-01")\n', "", "no test carries"),
    ],
)
def test_a_row_whose_tests_are_not_green_proves_nothing(
    toy: Path, before: str, after: str, reason: str
) -> None:
    test = toy / "tests/test_sums.py"
    test.write_text(test.read_text().replace(before, after))
    plant(toy, ADD)
    assert main([], toy) == 1
    assert verdicts(toy) == [("Adds two numbers", "unproved")]
    assert reason in note(toy)


@pytest.mark.parametrize("limits", [{"limit_s": 3}, {"limit_s": 60, "test_limit_s": 1}])
def test_tests_that_hang_are_ended(toy: Path, limits: dict[str, float]) -> None:
    hangs = FILES["toy/sums.py"].replace("return a + b", "while True: pass")
    with Scratch(toy) as scratch, scratch.changed("toy/sums.py", hangs):
        assert run_tests(scratch, ["tests/test_sums.py"], until_one_fails=True, **limits).timed_out
        left = [one.info["cmdline"] or () for one in psutil.process_iter(["cmdline"])]
        assert [argv for argv in left if str(scratch.folder) in " ".join(argv)] == []


def test_a_mutant_that_hangs_is_killed_with_a_note(toy: Path) -> None:
    plant(toy, {**ADD, "to": "while True: pass"})
    (mutant,) = read_mutants(toy)
    with Scratch(toy) as scratch:
        verdict = try_mutant(scratch, ["tests/test_sums.py"], mutant, RowRun(), grace_s=1)
    assert (verdict.verdict, verdict.note) == ("killed", "timeout")


def test_a_result_is_stale_when_the_file_or_the_test_has_changed(toy: Path) -> None:
    plant(toy, ADD)
    main([], toy)
    mutants, marked = read_mutants(toy), marked_tests(toy)
    assert stale(toy, mutants, marked) == changed(toy, mutants, marked) == []
    for file in ("toy/sums.py", "tests/test_sums.py"):
        text = (toy / file).read_text()
        (toy / file).write_text(f"{text}\n# touched\n")
        assert stale(toy, mutants, marked) == changed(toy, mutants, marked) == mutants
        (toy / file).write_text(text)
    (toy / "toy/__main__.py").write_text("")
    assert stale(toy, mutants, marked) == []


def test_a_new_one_is_stale_but_has_not_changed(toy: Path) -> None:
    plant(toy, ADD)
    mutants, marked = read_mutants(toy), marked_tests(toy)
    assert stale(toy, mutants, marked) == mutants
    assert changed(toy, mutants, marked) == []


def test_only_the_new_ones_are_tried_and_those_that_are_gone_are_forgotten(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(toy, ADD)
    main([], toy)
    capsys.readouterr()
    assert main([], toy) == 0
    assert "no mutant is to be tried" in capsys.readouterr().out
    plant(toy, {**ADD, "to": "return a * b"})
    assert main([], toy) == 0
    assert len(verdicts(toy)) == 1


def test_a_row_is_proved_when_every_clause_has_a_killed_mutant(toy: Path) -> None:
    plant(toy, ADD, NAMES)
    assert proofs(toy)["TOY-01"].missing == ("Adds two numbers, and a wrong one is named",)
    main([], toy)
    assert proofs(toy)["TOY-01"].status == "partly"
    assert proofs(toy)["TOY-01"].missing == ("wrong one is named",)
    test = toy / "tests/test_sums.py"
    test.write_text(test.read_text().replace("def test_that", '@pytest.mark.req("TOY-01")\ndef test_that'))
    main([], toy)
    assert proofs(toy)["TOY-01"].status == "proved"
    assert proofs(toy)["TOY-02"].status == "open"


@pytest.mark.parametrize(
    ("clauses", "left"),
    [
        (["Adds two numbers", "a wrong one is named"], []),
        (["Adds two numbers"], ["wrong one is named"]),
        (["Adds", "numbers", "wrong one is named"], ["two"]),
        (["Adds two num", "a wrong one is named"], ["numbers"]),
    ],
)
def test_what_is_in_no_clause_is_left(clauses: list[str], left: list[str]) -> None:
    assert unproved("Adds two numbers, and a wrong one is named.", clauses) == left


def test_what_a_test_starts_imports_the_copy(toy: Path, tmp_path: Path) -> None:
    with Scratch(toy) as scratch, scratch.changed("toy/sums.py", FILES["toy/sums.py"].replace("+", "-")):
        done = subprocess.run(
            [scratch.python, "-m", "toy"], cwd=tmp_path, env={}, capture_output=True, text=True, check=True
        )
    assert done.stdout == "-1\n"


def test_the_copy_of_this_repository_is_imported_by_its_own_command(tmp_path: Path) -> None:
    with Scratch(ROOT) as scratch:
        show = "import hearth, clusterkit, tests; print(hearth.__file__, clusterkit.__file__, sep='\\n')"
        done = subprocess.run(
            [scratch.python, "-c", show], cwd=tmp_path, env={}, capture_output=True, text=True, check=True
        )
        command = (scratch.python.parent / "hearth").read_text()
        assert done.stdout.splitlines() == [
            str(scratch.root / "hearth/__init__.py"), str(scratch.root / "clusterkit/__init__.py")
        ]  # fmt: skip
        assert str(scratch.python) in command.splitlines()[0]
        assert str(Path(sys.prefix)) not in command
        folder = scratch.folder
    assert not folder.exists()
