"""Exact arithmetic: whole and decimal numbers as fractions, so 0.1 + 0.2 is 0.3."""

import ast
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import ClassVar

from pydantic import Field

from pipecatapp.tools.base import Risk, ToolArguments, ToolContext, ToolError, ToolResult

MAX_TEXT = 500  #: characters of an expression
MAX_DIGITS = 1_000  #: digits of any number on the way; 10 ** 1000 is more than anybody needs to read
MAX_DEPTH = 64
SHOWN_DIGITS = 15  #: significant digits of a result that has no end

_WORDS = (
    (re.compile(r"\bplus\b"), "+"),
    (re.compile(r"\bminus\b"), "-"),
    (re.compile(r"\b(?:times|multiplied by)\b"), "*"),
    (re.compile(r"\b(?:divided by|over)\b"), "/"),
    (re.compile(r"\bto the power of\b"), "**"),
    (re.compile(r"(?<=[\d)\s])x(?=[\s\d(])"), "*"),
    (re.compile(r"(?<=\d),(?=\d{3}(?!\d))"), ""),
)
_SIGNS = str.maketrans("\u00d7\u00b7\u00f7\u2212\u2013", "**/--")  #: typographic operators
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
            max_length=MAX_TEXT, description="For example 17 * 23. Operators: + - * / // % ** and brackets."
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
    try:
        tree = ast.parse(source, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ToolError(f"{expression!r} is not an arithmetic expression") from error
    return _value(tree.body, source, 0)


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


def _plain(expression: str) -> str:
    text = expression.strip().rstrip("=? ").lower().translate(_SIGNS)
    for word, sign in _WORDS:
        text = word.sub(sign, text)
    return text.replace("^", "**").strip()


def _value(node: ast.expr, source: str, depth: int) -> Fraction:
    if depth > MAX_DEPTH:
        raise ToolError(f"the expression is nested deeper than {MAX_DEPTH} levels")
    if isinstance(node, ast.Constant):
        return _bounded(_number(node, source))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        value = _value(node.operand, source, depth + 1)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _value(node.left, source, depth + 1), _value(node.right, source, depth + 1)
        try:
            return _bounded(_OPERATORS[type(node.op)](left, right))
        except ZeroDivisionError as error:
            raise ToolError("division by zero has no result") from error
    raise ToolError("only numbers, brackets and + - * / // % ** are allowed")


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


_OPERATORS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: left / right,
    ast.FloorDiv: lambda left, right: Fraction(left // right),
    ast.Mod: lambda left, right: left % right,
    ast.Pow: _power,
}
