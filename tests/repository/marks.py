"""Which tests say that they prove which requirement: read from the source, nothing is run."""

import ast
import csv
from collections.abc import Iterable, Iterator
from pathlib import Path


def marked_tests(root: Path) -> dict[str, list[str]]:
    """Requirement id → tests that carry its marker, themselves or through their module, as `path::name`."""
    marked: dict[str, list[str]] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text())
        for scope, node in module_tests(tree):
            # A method has its module's marks through its class.
            of_module = [] if scope or not _is_test(node) else list(_module_marks(tree))
            for requirement in dict.fromkeys([*_marks(node.decorator_list), *of_module]):
                marked.setdefault(requirement, []).append(f"{path.relative_to(root)}::{scope}{node.name}")
    return marked


def requirements(root: Path) -> list[dict[str, str]]:
    """All rows: id, area, feature, works_when."""
    with (root / "docs/requirements.csv").open(newline="") as file:
        return list(csv.DictReader(file))


Test = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def module_tests(tree: ast.Module | ast.ClassDef, scope: str = "") -> Iterator[tuple[str, Test]]:
    """The functions and classes of a module with the classes around them, written `Outer::`."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield scope, node
        if isinstance(node, ast.ClassDef):
            yield from module_tests(node, f"{scope}{node.name}::")


def _is_test(node: Test) -> bool:
    return node.name.startswith("Test" if isinstance(node, ast.ClassDef) else "test")


def _module_marks(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            yield from _marks(node.value.elts if isinstance(node.value, ast.List) else [node.value])


def _marks(decorators: Iterable[ast.expr]) -> Iterator[str]:
    for decorator in decorators:
        if not isinstance(decorator, ast.Call) or not isinstance(decorator.func, ast.Attribute):
            continue
        if decorator.func.attr == "req":
            yield from (
                str(argument.value) for argument in decorator.args if isinstance(argument, ast.Constant)
            )
