"""What expressions may say, and what it means: an allow-list over Jinja's syntax tree.

Jinja only parses. Nothing here calls into a value: attributes are keys, operators work on plain data.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jinja2 import nodes

from pipecatapp.workflow.functions import (
    FILTERS,
    FUNCTIONS,
    EvaluationError,
    Function,
    bounded,
    look_up,
    to_text,
)
from pipecatapp.workflow.types import kind

Names = Mapping[str, Any]

MAX_DEPTH = 60  #: nesting of one expression; keeps every walk far from Python's recursion limit

#: Syntax that is allowed as it stands; calls, filters and constants are looked at more closely.
_ALLOWED = (
    nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Compare, nodes.Operand, nodes.And, nodes.Or,
    nodes.Not, nodes.Add, nodes.Sub, nodes.Neg, nodes.Concat, nodes.CondExpr, nodes.List, nodes.Dict,
    nodes.Pair,
)  # fmt: skip

_REFUSED: Mapping[type[nodes.Node], str] = {
    nodes.Mul: "`*` is not allowed",
    nodes.Pow: "`**` is not allowed",
    nodes.Div: "`/` is not allowed",
    nodes.FloorDiv: "`//` is not allowed",
    nodes.Mod: "`%` is not allowed",
    nodes.Test: "`is` tests are not allowed; compare with `==`",
    nodes.Tuple: "a tuple is not allowed; write a list [a, b]",
}


def check(node: nodes.Node, depth: int = 0) -> str | None:
    """The first thing in an expression that is not allowed, as a sentence, or None."""
    if depth > MAX_DEPTH:
        return f"nested deeper than {MAX_DEPTH} levels"
    wrong = _wrong(node)
    if wrong is None:
        below = (check(child, depth + 1) for child in node.iter_child_nodes())
        wrong = next((one for one in below if one), None)
    return wrong


def _wrong(node: nodes.Node) -> str | None:
    if isinstance(node, nodes.Const):
        return _wrong_constant(node.value)
    if isinstance(node, nodes.CondExpr) and node.expr2 is None:
        return "`a if condition` needs an `else`"
    if isinstance(node, nodes.Call):
        if not isinstance(node.node, nodes.Name):
            return "only the functions " + ", ".join(sorted(FUNCTIONS)) + " can be called"
        return _wrong_call("function", node.node.name, node, FUNCTIONS)
    if isinstance(node, nodes.Filter):
        return _wrong_call("filter", node.name, node, FILTERS)
    if isinstance(node, _ALLOWED):
        return None
    return _REFUSED.get(type(node), f"{type(node).__name__.lower()} is not allowed in an expression")


def _wrong_constant(value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return "the number is too large"
    if value is None or isinstance(value, bool | int | float | str):
        return None
    return f"a constant of kind {type(value).__name__} is not allowed"


def _wrong_call(
    what: str, name: str, node: nodes.Call | nodes.Filter, functions: Mapping[str, Function]
) -> str | None:
    if name not in functions:
        return f"unknown {what} {name!r} (known: {', '.join(sorted(functions))})"
    if node.kwargs or node.dyn_args or node.dyn_kwargs:
        return f"{what} {name!r} takes plain arguments only"
    function = functions[name]
    if not function.least <= len(node.args) <= function.most:
        counts = {str(function.least), str(function.most)}
        return f"{what} {name!r} takes {' or '.join(sorted(counts))} arguments, not {len(node.args)}"
    return None


def free_names(node: nodes.Node) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """Every name that is read, with the constant path that follows it: `a.b[0]` is (a, (b, 0))."""
    path: list[str | int] = []
    inner: nodes.Node = node
    while isinstance(inner, nodes.Getattr | nodes.Getitem):
        key = _constant_key(inner)
        if key is None:
            path.clear()
            if isinstance(inner, nodes.Getitem):
                yield from free_names(inner.arg)
        else:
            path.insert(0, key)
        inner = inner.node
    if isinstance(inner, nodes.Name):
        yield inner.name, tuple(path)
        return
    skipped = inner.node if isinstance(inner, nodes.Call) else None
    for child in inner.iter_child_nodes():
        if child is not skipped:
            yield from free_names(child)


def _constant_key(node: nodes.Getattr | nodes.Getitem) -> str | int | None:
    if isinstance(node, nodes.Getattr):
        return node.attr
    constant = node.arg.value if isinstance(node.arg, nodes.Const) else None
    return constant if isinstance(constant, str | int) and not isinstance(constant, bool) else None


def evaluate(node: nodes.Node, names: Names) -> Any:
    """The value of a checked expression. Raises `EvaluationError`."""
    return bounded(_OPERATIONS[type(node)](node, names))


def _name(node: nodes.Name, names: Names) -> Any:
    try:
        return names[node.name]
    except KeyError:
        visible = ", ".join(sorted(names)) or "none"
        raise EvaluationError(f"unknown name {node.name!r} (known: {visible})") from None


def _item(node: nodes.Getitem, names: Names) -> Any:
    value = evaluate(node.node, names)
    if not isinstance(node.arg, nodes.Slice):
        return look_up(value, evaluate(node.arg, names))
    if not isinstance(value, str | list):
        raise EvaluationError(f"expected text or list before [:], found {kind(value)}")
    ends = [
        None if end is None else evaluate(end, names)
        for end in (node.arg.start, node.arg.stop, node.arg.step)
    ]
    if (
        not all(end is None or (isinstance(end, int) and not isinstance(end, bool)) for end in ends)
        or ends[2] == 0
    ):
        raise EvaluationError("the ends of [:] must be whole numbers")
    return value[slice(*ends)]


def _and(node: nodes.And, names: Names) -> Any:
    return evaluate(node.left, names) and evaluate(node.right, names)


def _or(node: nodes.Or, names: Names) -> Any:
    return evaluate(node.left, names) or evaluate(node.right, names)


def _add(node: nodes.Add, names: Names) -> Any:
    left, right = evaluate(node.left, names), evaluate(node.right, names)
    for plain in (str, list):
        if isinstance(left, plain) and isinstance(right, plain):
            return left + right  # type: ignore[operator]
    _numbers("+", left, right)
    return left + right


def _sub(node: nodes.Sub, names: Names) -> Any:
    left, right = evaluate(node.left, names), evaluate(node.right, names)
    _numbers("-", left, right)
    return left - right


def _neg(node: nodes.Neg, names: Names) -> Any:
    value = evaluate(node.node, names)
    _numbers("-", value)
    return -value


def _numbers(operator: str, *values: Any) -> None:
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        shown = " and ".join(kind(value) for value in values)
        raise EvaluationError(f"`{operator}` does not work on {shown}")


def _concat(node: nodes.Concat, names: Names) -> Any:
    return "".join(to_text(evaluate(part, names)) for part in node.nodes)


def _condition(node: nodes.CondExpr, names: Names) -> Any:
    chosen = node.expr1 if evaluate(node.test, names) else node.expr2
    return evaluate(chosen, names)  # type: ignore[arg-type]  # `check` refuses a missing else


def _list(node: nodes.List, names: Names) -> Any:
    return [evaluate(item, names) for item in node.items]


def _dict(node: nodes.Dict, names: Names) -> Any:
    result: dict[str, Any] = {}
    for pair in node.items:
        key = evaluate(pair.key, names)
        if not isinstance(key, str):
            raise EvaluationError(f"a key must be text, found {kind(key)}")
        result[key] = evaluate(pair.value, names)
    return result


def _call(node: nodes.Call, names: Names) -> Any:
    assert isinstance(node.node, nodes.Name)
    return FUNCTIONS[node.node.name].call(*(evaluate(argument, names) for argument in node.args))


def _filter(node: nodes.Filter, names: Names) -> Any:
    assert node.node is not None
    arguments = (evaluate(argument, names) for argument in node.args)
    return FILTERS[node.name].call(evaluate(node.node, names), *arguments)


_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda left, right: bool(left == right),
    "ne": lambda left, right: bool(left != right),
    "lt": lambda left, right: _ordered("<", left, right) and bool(left < right),
    "lteq": lambda left, right: _ordered("<=", left, right) and bool(left <= right),
    "gt": lambda left, right: _ordered(">", left, right) and bool(left > right),
    "gteq": lambda left, right: _ordered(">=", left, right) and bool(left >= right),
    "in": lambda left, right: _contains(left, right),
    "notin": lambda left, right: not _contains(left, right),
}


def _compare(node: nodes.Compare, names: Names) -> bool:
    left = evaluate(node.expr, names)
    for operand in node.ops:
        right = evaluate(operand.expr, names)
        if not _COMPARISONS[operand.op](left, right):
            return False
        left = right
    return True


def _ordered(operator: str, left: Any, right: Any) -> bool:
    if not (isinstance(left, str) and isinstance(right, str)):
        _numbers(operator, left, right)
    return True


def _contains(left: Any, right: Any) -> bool:
    if isinstance(right, str):
        if not isinstance(left, str):
            raise EvaluationError(f"`in` a text needs a text on its left, found {kind(left)}")
        return left in right
    if isinstance(right, dict):
        return isinstance(left, str) and left in right
    if isinstance(right, list):
        return left in right
    raise EvaluationError(f"`in` needs a text, list or object on its right, found {kind(right)}")


_OPERATIONS: Mapping[type[nodes.Node], Callable[[Any, Names], Any]] = {
    nodes.Name: _name,
    nodes.Const: lambda node, names: node.value,
    nodes.Getattr: lambda node, names: look_up(evaluate(node.node, names), node.attr),
    nodes.Getitem: _item,
    nodes.Compare: _compare,
    nodes.And: _and,
    nodes.Or: _or,
    nodes.Not: lambda node, names: not evaluate(node.node, names),
    nodes.Add: _add,
    nodes.Sub: _sub,
    nodes.Neg: _neg,
    nodes.Concat: _concat,
    nodes.CondExpr: _condition,
    nodes.List: _list,
    nodes.Dict: _dict,
    nodes.Call: _call,
    nodes.Filter: _filter,
}
