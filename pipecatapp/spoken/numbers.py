"""Numbers as they are said and written: `twenty-three`, `1,000.5`, `two and a half`, `3/4`."""

import re
from collections.abc import Sequence
from fractions import Fraction

_SMALL = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15,
    "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
    "ninety": 90,
}  # fmt: skip
_LARGE = {"billion": 10**9, "million": 10**6, "thousand": 10**3}
_PARTS = {"half": Fraction(1, 2), "third": Fraction(1, 3), "quarter": Fraction(1, 4)}
_SIGNS = {"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}

_WRITTEN = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?")
_FRACTION = re.compile(r"(?:(\d+)[ +])?(\d+) ?/ ?(\d+)")
_NUMBER_WORD = "|".join((*_SMALL, *_TENS, *_LARGE, "hundred", "dozen"))
_RUN = re.compile(
    rf"\b(?:a (?=hundred|thousand|million|billion|dozen))?(?:{_NUMBER_WORD})\b"
    rf"(?:(?: and |[ -]| point )(?:{_NUMBER_WORD})\b)*"
)
MAX_CHARACTERS = 100  #: of what is read as one number, quantity or time


def read_number(text: str) -> Fraction | None:
    """The number that `text` says as a whole, or None. `a` and `an` are one."""
    if len(text) > MAX_CHARACTERS:
        return None
    plain = " ".join(text.lower().split())
    for sign, written in _SIGNS.items():
        plain = re.sub(rf" ?{sign}", f" {written}", plain).strip()
    if plain and _WRITTEN.fullmatch(plain) and plain != "-":
        return Fraction(plain.replace(",", ""))
    if match := _FRACTION.fullmatch(plain):
        whole, over, under = (int(part or 0) for part in match.groups())
        return whole + Fraction(over, under) if under else None
    return _in_words(plain.replace("-", " ").split())


def words_to_digits(text: str) -> str:
    """`text` in lower case with the whole and decimal numbers that stand there in words as digits."""
    return _RUN.sub(_as_digits, text.lower())


def _as_digits(match: re.Match[str]) -> str:
    value = _in_words(match[0].replace("-", " ").split())
    if value is None:
        return match[0]
    if value.denominator == 1:
        return str(value)
    places = len(match[0].partition(" point ")[2].split())
    return f"{int(value)}.{int(value % 1 * 10**places):0{places}d}"


def _in_words(words: Sequence[str]) -> Fraction | None:
    """The number of all of `words`: a cardinal, with a decimal or a fraction behind it."""
    if not words:
        return None
    if words[-1] in ("a", "an") and len(words) > 1:  # `half a` mile, `three quarters of an` hour
        before = words[: -2 if words[-2] == "of" else -1]
        return _in_words(before) if before and before[-1].startswith(tuple(_PARTS)) else None
    if words[0] in ("a", "an"):
        rest = words[1:]
        return Fraction(1) if not rest else _in_words(["one", *rest])
    part = _PARTS.get("half" if words[-1] == "halves" else words[-1].removesuffix("s"))
    if part is not None:
        return _with_part(words[:-1], part)
    if "point" in words:
        at = list(words).index("point")
        whole, digits = _cardinal(words[:at]), [_SMALL.get(word, 10) for word in words[at + 1 :]]
        if whole is None or not digits or max(digits) > 9:
            return None
        return whole + Fraction(int("".join(map(str, digits))), 10 ** len(digits))
    whole = _cardinal(words)
    return None if whole is None else Fraction(whole)


def _with_part(before: Sequence[str], part: Fraction) -> Fraction | None:
    """`half`, `a half`, `one half`, `three quarters`, `two and a half`."""
    if not before:
        return part
    if len(before) > 2 and before[-1] in ("a", "an", "one") and before[-2] == "and":
        whole = _cardinal(["one"] if before[0] in ("a", "an") else before[:-2])
        return None if whole is None else whole + part
    count = _cardinal(before)
    return None if count is None else count * part


def _cardinal(words: Sequence[str]) -> int | None:
    """The whole number of all of `words`, such as `one hundred and twenty three`."""
    if list(words[-1:]) == ["dozen"]:
        count = 1 if len(words) == 1 else _cardinal(words[:-1])
        return None if count is None else 12 * count
    total, rest = 0, list(words)
    for name, size in _LARGE.items():
        if name in rest:
            at = rest.index(name)
            group = _below_thousand(rest[:at])
            if not group:
                return None
            total, rest = total + group * size, rest[at + 1 :]
            if not rest:
                return total
            if rest[0] == "and":
                rest = rest[1:]
    last = _below_thousand(rest)
    if last is None or (total and not last):
        return None
    return total + last


def _below_thousand(words: Sequence[str]) -> int | None:
    if "hundred" not in words:
        return _below_hundred(words)
    at = list(words).index("hundred")
    count, rest = _below_hundred(words[:at]), list(words[at + 1 :])
    if not count:
        return None
    if not rest:
        return count * 100
    last = _below_hundred(rest[1:] if rest[0] == "and" else rest)
    return count * 100 + last if last else None


def _below_hundred(words: Sequence[str]) -> int | None:
    match list(words):
        case [word] if word.isdigit() and word.isascii():
            return int(word)
        case [word]:
            return _SMALL.get(word, _TENS.get(word))
        case [tens, unit] if tens in _TENS and 0 < _SMALL.get(unit, 0) < 10:
            return _TENS[tens] + _SMALL[unit]
    return None
