"""The wire type of an expression, as far as it can be known before a run; `any` otherwise."""

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import nodes

from pipecatapp.workflow.expressions import Template
from pipecatapp.workflow.functions import FILTERS, FUNCTIONS
from pipecatapp.workflow.types import element, settled

#: The type behind a name: (name, first key after it or None) -> wire type.
Lookup = Callable[[str, str | None], str]


def infer(tree: Any, lookup: Lookup) -> str:
    """The wire type of a compiled value: a template, plain data, or a mixture."""
    if isinstance(tree, Template):
        return _expression(tree.single, lookup) if tree.single is not None else "text"
    if isinstance(tree, Mapping):
        return "object"
    if isinstance(tree, list):
        return _list_of([infer(item, lookup) for item in tree])
    return _constant(tree)


def _constant(value: Any) -> str:
    if value is None:
        return "any"
    kinds = ((bool, "bool"), (int, "number"), (float, "number"), (str, "text"))
    return next((wire for plain, wire in kinds if isinstance(value, plain)), "any")


def _expression(node: nodes.Node, lookup: Lookup) -> str:
    if isinstance(node, nodes.Const):
        return _constant(node.value)
    if isinstance(node, nodes.Name | nodes.Getattr | nodes.Getitem):
        return _path(node, lookup)
    if isinstance(node, nodes.Compare | nodes.Not):
        return "bool"
    if isinstance(node, nodes.Concat):
        return "text"
    if isinstance(node, nodes.Neg | nodes.Sub):
        return "number"
    if isinstance(node, nodes.Dict):
        return "object"
    if isinstance(node, nodes.List):
        return _list_of([_expression(item, lookup) for item in node.items])
    return _composed(node, lookup)


def _composed(node: nodes.Node, lookup: Lookup) -> str:
    if isinstance(node, nodes.Add | nodes.And | nodes.Or):
        return _common(_expression(node.left, lookup), _expression(node.right, lookup))
    if isinstance(node, nodes.CondExpr) and node.expr2 is not None:
        return _common(_expression(node.expr1, lookup), _expression(node.expr2, lookup))
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name):
        return FUNCTIONS[node.node.name].result
    if isinstance(node, nodes.Filter) and node.node is not None:
        if node.name == "default":
            return _common(_expression(node.node, lookup), _expression(node.args[0], lookup))
        if node.name in ("first", "last"):
            return element(_expression(node.node, lookup))
        return FILTERS[node.name].result
    return "any"


def _path(node: nodes.Node, lookup: Lookup) -> str:
    if isinstance(node, nodes.Name):
        return lookup(node.name, None)
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        return settled(_expression(node.node, lookup))
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
        return lookup(node.node.name, node.attr)
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        key = node.arg.value
        if isinstance(key, str) and isinstance(node.node, nodes.Name):
            return lookup(node.node.name, key)
        if isinstance(key, int):
            return element(_expression(node.node, lookup))
    return "any"


def _list_of(kinds: list[str]) -> str:
    if not kinds:
        return "list[any]"
    common = kinds[0]
    for kind in kinds[1:]:
        common = _common(common, kind)
    return f"list[{settled(common)}]"


def _common(left: str, right: str) -> str:
    if left == right:
        return left
    left, right = settled(left), settled(right)
    if left == right:
        return left
    if left.startswith("list[") and right.startswith("list["):
        return f"list[{_common(element(left), element(right))}]"
    return "any"
