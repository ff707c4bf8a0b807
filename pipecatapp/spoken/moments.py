"""Moments as they are said: `at half past seven`, `tomorrow at 8`, `on Monday at noon`."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from pipecatapp.spoken.durations import read_duration
from pipecatapp.spoken.numbers import MAX_CHARACTERS, read_number

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
    "november", "december",
)  # fmt: skip
_PARTS_OF_DAY = {"morning": 9, "afternoon": 15, "evening": 19, "night": 20}  #: the hour where none is said
_DATE = re.compile(
    rf"(?:on )?(?:the )?(?:(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? ({'|'.join(_MONTHS)})"
    rf"|({'|'.join(_MONTHS)}) (?:the )?(\d{{1,2}})(?:st|nd|rd|th)?)(?:,? (\d{{4}}))?"
)
_DAY = re.compile(rf"\b(today|tonight|tomorrow)|(?:on |this )?(?:next )?({'|'.join(_WEEKDAYS)})")
_PART = re.compile(r"(?:in the |this |at )?\b(morning|afternoon|evening|night)\b")
_CLOCK = re.compile(r"(?:at )?(\d{1,2})(?:[:.](\d\d))?(?: ?o'?clock)?(?: ?([ap])\.?m\.?)?")
_HALF = re.compile(
    r"(?:at )?(half|quarter|a quarter|[a-z]+(?:[ -][a-z]+)?|\d{1,2})(?: minutes?)? (past|after|to) "
    r"([a-z]+|\d{1,2})"
)


def read_moment(text: str, now: datetime, zone: tzinfo | None) -> datetime | None:
    """The next moment after `now` that `text` says as a whole, in UTC, or None.

    `now` is aware; `zone` is where the clock on the wall hangs, None for this machine's own. `at seven` is
    the next time that a clock shows seven; on another day, 7 to 11 are before noon and 12 to 6 after it.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    plain = " ".join(text.lower().replace(",", " ").strip(" .").split())
    if plain.startswith("in ") and (length := read_duration(plain.removeprefix("in "))) is not None:
        return now.astimezone(UTC) + length
    local = now.astimezone(zone)
    day, rest = _day(plain, local.date())
    part, rest = _part_of_day(rest)
    if plain.endswith("tonight") or plain.startswith("tonight"):
        part = "night"
    hour = _clock_time(rest)
    if rest and hour is None:
        return None
    if hour is None and part is None and day is None:
        return None
    if hour is None:
        hour = _PARTS_OF_DAY.get(part or "morning", 9), 0, part is not None
    return _first_after(local, zone, day, part, hour)


def is_moment(text: str) -> bool:
    """Whether `text` says a moment as a whole; which one depends on when it is said."""
    return read_moment(text, datetime(2026, 1, 1, tzinfo=UTC), UTC) is not None


def say_moment(moment: datetime, now: datetime, zone: tzinfo | None) -> str:
    """`14:30`, `14:30 tomorrow` or `14:30 on Monday, 5 May`."""
    local, today = moment.astimezone(zone), now.astimezone(zone).date()
    clock = f"{local:%H:%M:%S}".removesuffix(":00")
    days = (local.date() - today).days
    if days == 0:
        return clock
    if days in (1, -1):
        return f"{clock} {'tomorrow' if days == 1 else 'yesterday'}"
    year = "" if local.year == now.astimezone(zone).year else f" {local.year}"
    return f"{clock} on {local:%A}, {local.day} {local:%B}{year}"


def _first_after(
    local: datetime, zone: tzinfo | None, day: date | None, part: str | None, hour: tuple[int, int, bool]
) -> datetime | None:
    number, minute, exact = hour
    if part is not None and not exact:
        number = _in_part(number, part)
    elif day not in (None, local.date()) and not exact and number < 7:
        number += 12
    if number > 23 or minute > 59:
        return None
    ambiguous = not exact and part is None and day in (None, local.date())
    hours = [number % 12, number % 12 + 12] if ambiguous else [number]
    days = [day] if day is not None else [local.date(), local.date() + timedelta(days=1)]
    moments = [_in_utc(datetime.combine(one, time(h, minute)), zone) for one in days for h in hours]
    return next((moment for moment in moments if moment > local), None)


def _in_utc(naive: datetime, zone: tzinfo | None) -> datetime:
    # Without a zone `astimezone` asks the machine, which knows its summer time on that day.
    return (naive.astimezone() if zone is None else naive.replace(tzinfo=zone)).astimezone(UTC)


def _in_part(hour: int, part: str) -> int:
    if part == "morning" or hour > 12:
        return hour % 12 if part == "morning" and hour == 12 else hour
    if part == "night" and hour in (12, 1, 2, 3, 4, 5):
        return hour % 12
    return hour % 12 + 12


def _day(text: str, today: date) -> tuple[date | None, str]:
    """The day that a text begins or ends with, and the rest of the text."""
    for pattern, read in ((_DATE, _written_date), (_DAY, _named_day)):
        for match in pattern.finditer(text):
            before, after = text[: match.start()].strip(), text[match.end() :].strip()
            if before and after:
                continue
            found = read(match, today)
            if found is not None:
                return found, (before or after).removeprefix("on ").removesuffix(" on")
    return None, text


def _written_date(match: re.Match[str], today: date) -> date | None:
    number, month, month_first, number_behind, year = match.groups()
    index = _MONTHS.index(month or month_first) + 1
    for candidate in [int(year)] if year else [today.year, today.year + 1]:
        try:
            found = date(candidate, index, int(number or number_behind))
        except ValueError:
            continue
        if year or found >= today:
            return found
    return None


def _named_day(match: re.Match[str], today: date) -> date | None:
    word, weekday = match.groups()
    if word:
        return today + timedelta(days=1 if word == "tomorrow" else 0)
    days = (_WEEKDAYS.index(weekday) - today.weekday()) % 7 or 7
    return today + timedelta(days=days)


def _part_of_day(text: str) -> tuple[str | None, str]:
    for match in _PART.finditer(text):
        before, after = text[: match.start()].strip(), text[match.end() :].strip()
        if not (before and after):
            return match[1], before or after
    return None, text


def _clock_time(text: str) -> tuple[int, int, bool] | None:
    """Hour, minute and whether the half of the day is known."""
    plain = text.removeprefix("at ")
    if plain in ("noon", "midday"):
        return 12, 0, True
    if plain == "midnight":
        return 0, 0, True
    if match := _HALF.fullmatch(text):
        return _past_or_to(*match.groups())
    words = re.sub(r" ?o'?clock$", "", plain)
    number = read_number(words)
    if number is not None and number.denominator == 1 and not words[0].isdigit():
        return (int(number), 0, number > 12) if 1 <= number <= 24 else None
    if not (match := _CLOCK.fullmatch(text)):
        return None
    hour, minute, half = int(match[1]), int(match[2] or 0), match[3]
    if half:
        return (hour % 12 + (12 if half == "p" else 0), minute, True) if 1 <= hour <= 12 else None
    return hour, minute, hour > 12 or match[1].startswith("0")


def _past_or_to(count: str, way: str, hour: str) -> tuple[int, int, bool] | None:
    minutes = {"half": 30, "quarter": 15, "a quarter": 15}.get(count) or read_number(count)
    number = 0 if hour == "midnight" else 12 if hour == "noon" else read_number(hour)
    if minutes is None or number is None or not 0 < minutes < 60 or not 0 <= number <= 24:
        return None
    whole, exact = int(number), hour in ("noon", "midnight") or number > 12
    if way == "to":
        return (whole - 1) % 24, 60 - int(minutes), exact
    return whole, int(minutes), exact
