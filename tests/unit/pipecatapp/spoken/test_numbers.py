from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unicode_rbnf import RbnfEngine

from pipecatapp.spoken.numbers import read_number, words_to_digits

ENGLISH = RbnfEngine.for_language("en")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("twelve", 12), ("twenty-three", 23), ("one hundred and five", 105), ("a hundred", 100),
        ("fifteen hundred", 1500), ("two thousand and nineteen", 2019), ("a", 1), ("an", 1), ("a dozen", 12),
        ("half", Fraction(1, 2)), ("one and a half", Fraction(3, 2)), ("three quarters", Fraction(3, 4)),
        ("two point five", Fraction(5, 2)), ("half a", Fraction(1, 2)),
        ("three quarters of an", Fraction(3, 4)), ("2½", Fraction(5, 2)), ("2 1/2", Fraction(5, 2)),
        ("1,000.5", Fraction(2001, 2)), ("-3", -3), (" 12 ", 12),
    ],
)  # fmt: skip
def test_a_number_is_read_as_it_is_said_and_written(text, value):
    assert read_number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "and",
        "twenty twelve",
        "twelve two",
        "hundred",
        "point five",
        "1,00",
        "1/0",
        "two or three",
        "three a",
        "of an",
        "x",
    ],
)
def test_what_is_no_number_is_not_guessed_at(text):
    assert read_number(text) is None


@given(st.integers(0, 999_999_999))
def test_every_number_in_words_is_read_as_what_it_was(number):
    assert read_number(ENGLISH.format_number(number).text) == number


@given(st.text(max_size=40))
def test_no_text_is_an_obstacle(text):
    read_number(text)
    words_to_digits(text)


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("Seventeen times twenty three", "17 times 23"),
        ("a hundred minus one point five", "100 minus 1.5"),
        ("one point oh five", "1 point oh 5"),
        ("one and two", "one and two"),
        ("someone phoned", "someone phoned"),
    ],
)
def test_numbers_within_a_text_become_digits_and_the_rest_stays(text, digits):
    assert words_to_digits(text) == digits
