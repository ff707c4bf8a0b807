"""Which tests stand on which fixture: read from the source, nothing is run."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.repository.marks import module_tests

Fixtures = dict[str, set[str]]


def dependents(root: Path, fixture: str) -> set[str]:
    """The tests, as `path::name`, that ask for the fixture, themselves or through another."""
    trees = {path: ast.parse(path.read_text()) for path in sorted((root / "tests").rglob("*.py"))}
    fixtures = {path: _fixtures(tree) for path, tree in trees.items()}
    needing = set()
    for path, tree in trees.items():
        if path.name.startswith("test_"):
            visible = _visible(path, fixtures)
            needing |= {
                f"{path.relative_to(root)}::{scope}{node.name}"
                for scope, node in module_tests(tree)
                if fixture in _closure(_asked_for(node), visible)
            }
    return needing


def _visible(path: Path, fixtures: Mapping[Path, Fixtures]) -> Fixtures:
    """Fixture → what it asks for, as a test module sees them: the nearest of a name is the one."""
    shared = [
        other for other in fixtures if not other.name.startswith("test_") and other.name != "conftest.py"
    ]
    near = [folder / "conftest.py" for folder in reversed(path.parents) if folder / "conftest.py" in fixtures]
    visible: Fixtures = {}
    for module in (*shared, *near, path):
        visible |= fixtures[module]
    return visible


def _fixtures(tree: ast.Module) -> Fixtures:
    return {
        node.name: set(_arguments(node))
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and any("fixture" in ast.unparse(decorator) for decorator in node.decorator_list)
    }


def _closure(names: Iterator[str], fixtures: Fixtures) -> set[str]:
    closure: set[str] = set()
    more = set(names)
    while more:
        closure |= more
        more = {asked for name in more for asked in fixtures.get(name, ())} - closure
    return closure


def _asked_for(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _arguments(part)
        if isinstance(part, ast.Call) and ast.unparse(part.func).endswith("usefixtures"):
            yield from (str(one.value) for one in part.args if isinstance(one, ast.Constant))


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]
