"""Exact arithmetic: whole and decimal numbers as fractions, so 0.1 + 0.2 is 0.3."""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import ClassVar

from pydantic import Field
from simpleeval import InvalidExpression, SimpleEval

from pipecatapp.spoken.numbers import words_to_digits
from pipecatapp.tools.base import Risk, ToolArguments, ToolContext, ToolError, ToolResult

MAX_TEXT = 500  #: characters of an expression
MAX_DIGITS = 1_000  #: digits of any number on the way; 10 ** 1000 is more than anybody needs to read
MAX_DEPTH = 64
SHOWN_DIGITS = 15  #: significant digits of a result that has no end

_PERCENT = r"(\d[\d,]*(?:\.\d+)?|\.\d+) ?(?:%|percent|per cent)"
_WORDS = (
    (re.compile(_PERCENT + r" of (?:the )?"), r"(\1/100)*"),
    (re.compile(_PERCENT + r" off (?:of )?"), r"(1-\1/100)*"),
    (re.compile(r"\bplus\b"), "+"),
    (re.compile(r"\bminus\b"), "-"),
    (re.compile(r"\b(?:times|multiplied by)\b"), "*"),
    (re.compile(r"\b(?:divided by|over)\b"), "/"),
    (re.compile(r"\bto the power of\b"), "**"),
    (re.compile(r"(?<=[\d)\s])x(?=[\s\d(])"), "*"),
    (re.compile(r"(?<=\d),(?=\d{3}(?!\d))"), ""),
)
_SIGNS = str.maketrans("\u00d7\u00b7\u00f7\u2212\u2013", "**/--")  #: typographic operators
_SUM = re.compile(r"[\d\s.+*/%()-]+")  #: what `_plain` leaves of a sum
_NO_SUM = re.compile(r"\s*(?:\d{4}-\d\d?-\d\d?\b|9/11\b|24/7\b)")
_NUMBER = re.compile(r"(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.IGNORECASE)


class Calculator:
    """Works out an arithmetic expression."""

    name: ClassVar[str] = "calculator"
    aliases: ClassVar[tuple[str, ...]] = ()
    description: ClassVar[str] = "Work out arithmetic exactly. Use it for every calculation."
    risk: ClassVar[Risk] = Risk.READ

    class Arguments(ToolArguments):
        """What to work out."""

        expression: str = Field(
            max_length=MAX_TEXT,
            description="For example 17 * 23 or 12% of 340. Operators: + - * / // % ** and brackets.",
        )

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """The value, as data {"expression", "result", "exact"} and as text."""
        value = calculate(arguments.expression)
        text, exact = show(value)
        shown = text if exact else f"about {text}"
        return ToolResult({"expression": arguments.expression, "result": text, "exact": exact}, shown)


def calculate(expression: str) -> Fraction:
    """The exact value of an expression. Raises `ToolError`; runs nothing."""
    if len(expression) > MAX_TEXT:
        raise ToolError(f"the expression has {len(expression)} characters; at most {MAX_TEXT} are allowed")
    source = _plain(expression)
    tree = _parsed(source)
    if tree is None:
        raise ToolError(f"{expression!r} is not an arithmetic expression")
    if _depth(tree.body) > MAX_DEPTH:
        raise ToolError(f"the expression is nested deeper than {MAX_DEPTH} levels")
    try:
        value: Fraction = _evaluator(source).eval(source, tree.body)
    except ZeroDivisionError as error:
        raise ToolError("division by zero has no result") from error
    except InvalidExpression as error:
        raise ToolError("only numbers, brackets and + - * / // % ** are allowed") from error
    return value


def is_sum(text: str) -> bool:
    """Whether `text` is a sum and nothing else: numbers with something to do, no date, no famous pair."""
    if _NO_SUM.match(text):
        return False
    source = _plain(text)
    tree = _parsed(source) if _SUM.fullmatch(source) else None
    return tree is not None and _depth(tree.body) <= MAX_DEPTH and isinstance(_unsigned(tree.body), ast.BinOp)


def show(value: Fraction) -> tuple[str, bool]:
    """A number for people, and whether it is exact."""
    if value.denominator == 1:
        return str(value.numerator), True
    places = _decimal_places(value.denominator)
    if places is not None and places <= MAX_DIGITS:
        digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
        return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}", True
    return f"{_rounded(value):.{SHOWN_DIGITS}g}", False


def _rounded(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ToolError("the result is too large to be shown") from error


def _decimal_places(denominator: int) -> int | None:
    """How many decimals 1/denominator has; None when they never end."""
    twos = fives = 0
    while denominator % 2 == 0:
        denominator, twos = denominator // 2, twos + 1
    while denominator % 5 == 0:
        denominator, fives = denominator // 5, fives + 1
    return max(twos, fives) if denominator == 1 else None


def _parsed(source: str) -> ast.Expression | None:
    try:
        return ast.parse(source, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _unsigned(node: ast.expr) -> ast.expr:
    return _unsigned(node.operand) if isinstance(node, ast.UnaryOp) else node


def _plain(expression: str) -> str:
    text = words_to_digits(expression.strip().rstrip("=? ")).translate(_SIGNS)
    for word, sign in _WORDS:
        text = word.sub(sign, text)
    return text.replace("^", "**").strip()


def _evaluator(source: str) -> SimpleEval:
    """simpleeval, left with numbers as they are written in `source`, signs and `_OPERATORS`."""
    evaluator = SimpleEval(_OPERATORS, functions={}, names={})
    evaluator.nodes = {
        ast.Constant: lambda node: _bounded(_number(node, source)),
        ast.UnaryOp: evaluator.nodes[ast.UnaryOp],
        ast.BinOp: evaluator.nodes[ast.BinOp],
    }
    return evaluator


def _depth(node: ast.AST) -> int:
    return 1 + max(map(_depth, ast.iter_child_nodes(node)), default=-1)


def _number(node: ast.Constant, source: str) -> Fraction:
    # The written digits, not Python's float: that would bring its noise along.
    written = source.encode()[node.col_offset : node.end_col_offset].decode()
    if not _NUMBER.fullmatch(written):
        raise ToolError(f"{written!r:.50} is not a number")
    return Fraction(written.replace("_", ""))


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_DIGITS * 10 // 3:
        raise ToolError(f"the numbers grow beyond {MAX_DIGITS} digits")
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise ToolError("only whole numbers can be exponents")
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if size > 1 and abs(exponent) * (size - 1) > MAX_DIGITS * 10 // 3:
        raise ToolError(f"the numbers grow beyond {MAX_DIGITS} digits")
    if abs(base) == 1 or base == 0:  # an exponent without bound is harmless here, and slow if worked out
        exponent = Fraction(int(exponent) % 2 + 2) if exponent > 0 else exponent
    return Fraction(base ** int(exponent))


def _exact(operation: Callable[[Fraction, Fraction], Fraction]) -> Callable[[Fraction, Fraction], Fraction]:
    return lambda left, right: _bounded(Fraction(operation(left, right)))


#: Nothing else is worked out: no shifts, no comparisons, no words.
_OPERATORS: Mapping[type[ast.AST], Callable[..., Fraction]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Add: _exact(operator.add),
    ast.Sub: _exact(operator.sub),
    ast.Mult: _exact(operator.mul),
    ast.Div: _exact(operator.truediv),
    ast.FloorDiv: _exact(operator.floordiv),
    ast.Mod: _exact(operator.mod),
    ast.Pow: _exact(_power),
}
