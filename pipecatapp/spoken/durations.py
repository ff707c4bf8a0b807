"""Lengths of time as they are said: `twelve minutes`, `an hour and a half`, `1h 30m`."""

import re
from datetime import timedelta
from fractions import Fraction

from pipecatapp.spoken.numbers import MAX_CHARACTERS, read_number

_UNITS = {
    name: seconds
    for seconds, names in {
        1: "second seconds sec secs s",
        60: "minute minutes min mins m",
        3600: "hour hours hr hrs h",
        86400: "day days d",
        604800: "week weeks",
    }.items()
    for name in names.split()
}
_UNIT = "|".join(sorted(_UNITS, key=len, reverse=True))
_AND_A_PART = re.compile(rf"(.+?) ({_UNIT}) and (?:a |one )?(half|quarter)(?: an? {_UNIT})?")
_STEP = re.compile(rf"(?:and |, ?)?(.+?) ({_UNIT})(?![a-z])(?:,? |$)")
MAX_DAYS = 3660  #: longer ones are slips


def read_duration(text: str) -> timedelta | None:
    """The length of time that `text` says as a whole, to the second, or None. A number alone is none."""
    if len(text) > MAX_CHARACTERS:
        return None
    plain = re.sub(r"(?<=\d)(?=[a-z])|(?<=[a-z])(?=\d)", " ", text.lower().strip(" .,"))
    plain = " ".join(re.sub(r"(?<=\w)-", " ", plain).split())
    seconds = _seconds(plain)
    if seconds is None or seconds <= 0 or seconds > MAX_DAYS * 86400:
        return None
    return timedelta(seconds=round(seconds))


def say_duration(length: timedelta) -> str:
    """`1 hour, 30 minutes`, with the two largest units that are not nothing."""
    rest, parts = round(length.total_seconds()), []
    for name, size in (("week", 604800), ("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {name}{'' if count == 1 else 's'}")
    return ", ".join(parts) if parts else "0 seconds"


def _seconds(text: str) -> Fraction | None:
    if match := _AND_A_PART.fullmatch(text):
        count, unit = read_number(match[1]), _UNITS[match[2]]
        part = Fraction(1, 2) if match[3] == "half" else Fraction(1, 4)
        return None if count is None else (count + part) * unit
    total, last = Fraction(0), float("inf")
    while text:
        match = _STEP.match(text)
        count = read_number(match[1]) if match else None
        if match is None or count is None or count < 0 or _UNITS[match[2]] >= last:
            return None
        last = _UNITS[match[2]]
        total, text = total + count * last, text[match.end() :]
    return total
