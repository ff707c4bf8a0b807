"""Which tests say that they prove which requirement: read from the source, nothing is run."""

import ast
import csv
from collections.abc import Iterator
from pathlib import Path


def marked_tests(root: Path) -> dict[str, list[str]]:
    """Requirement id → tests that carry its marker, as `path::name`."""
    found: dict[str, list[str]] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        for scope, node in _tests(ast.parse(path.read_text()), ""):
            for requirement in _marks(node):
                found.setdefault(requirement, []).append(f"{path.relative_to(root)}::{scope}{node.name}")
    return found


def requirements(root: Path) -> list[dict[str, str]]:
    """All rows: id, area, feature, works_when."""
    with (root / "docs/requirements.csv").open(newline="") as file:
        return list(csv.DictReader(file))


Test = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _tests(tree: ast.Module | ast.ClassDef, scope: str) -> Iterator[tuple[str, Test]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield scope, node
        if isinstance(node, ast.ClassDef):
            yield from _tests(node, f"{scope}{node.name}::")


def _marks(node: Test) -> Iterator[str]:
    for decorator in node.decorator_list:
        is_call = isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute)
        if is_call and decorator.func.attr == "req":
            yield from (
                str(argument.value) for argument in decorator.args if isinstance(argument, ast.Constant)
            )
