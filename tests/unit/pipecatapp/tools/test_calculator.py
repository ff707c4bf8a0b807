import operator
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipecatapp.tools.base import ToolError
from pipecatapp.tools.calculator import calculate, show


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("17 * 23", "391"),
        ("17 times 23", "391"),
        ("0.1 + 0.2", "0.3"),
        ("1/3", "0.333333333333333"),
        ("1/3*3", "1"),
        ("-7 // 2", "-4"),
        ("-7 % 3", "2"),
        ("2 ** 100", "1267650600228229401496703205376"),
        ("2 ** -2", "0.25"),
        ("(-1) ** 999999999", "-1"),
        ("1,234,567.5 \u00d7 2", "2469135"),
        ("10 ÷ 4", "2.5"),
        ("3 x (4 - 1)", "9"),
        ("2 plus 3 minus 1 divided by 4", "4.75"),
        ("2^3^2", "512"),
        ("-0.05", "-0.05"),
        (".5+.25", "0.75"),
        ("1e3 + 1", "1001"),
        ("12345678901234567890.123456789 + 0", "12345678901234567890.123456789"),
        ("6*7 = ?", "42"),
    ],
)
def test_arithmetic_is_exact(expression, result):
    assert show(calculate(expression))[0] == result


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("1/0", "division by zero"),
        ("5 % 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("9**9**9", "grow beyond 1000 digits"),
        ("10**600 * 10**600", "grow beyond 1000 digits"),
        ("2 ** 0.5", "only whole numbers can be exponents"),
        ("__import__('os')", "only numbers"),
        ("a + 1", "only numbers"),
        ("1 if 1 else 2", "only numbers"),
        ("[1]", "only numbers"),
        ("1 << 3", "only numbers"),
        ("5 & 3", "only numbers"),
        ("~1", "only numbers"),
        ("not 1", "only numbers"),
        ("1 < 2", "only numbers"),
        ("(1).real", "only numbers"),
        ("abs(1)", "only numbers"),
        ("'a' * 3", "is not a number"),
        ("True + 1", "only numbers"),
        ("0b10", "not an arithmetic expression|is not a number"),
        ("1j", "is not a number"),
        ("1e9999", "is not a number"),
        ("1,5 + 1", "only numbers"),
        ("", "not an arithmetic expression"),
        ("1 +", "not an arithmetic expression"),
        ("(" * 240 + "1" + ")" * 240, "not an arithmetic expression"),
        ("-" * 400 + "1", "nested deeper"),
        ("1" * 501, "at most 500"),
    ],
)
def test_what_is_no_arithmetic_is_refused(expression, complaint):
    with pytest.raises(ToolError, match=complaint):
        calculate(expression)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789.+-*/%()^xe, \u00d7\u00f7", max_size=40))
def test_no_text_fails_in_any_other_way(text):
    try:
        show(calculate(text))
    except ToolError:
        return


OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


@given(
    st.integers(-999, 999),
    st.sampled_from("+-*/"),
    st.integers(-999, 999),
    st.sampled_from("+-*"),
    st.integers(1, 99),
)
def test_it_agrees_with_fractions(a, first, b, second, c):
    if first == "/" and b == 0:
        return
    expected = OPERATORS[second](OPERATORS[first](Fraction(a), Fraction(b)), Fraction(c))
    assert calculate(f"(({a}) {first} ({b})) {second} {c}") == expected
