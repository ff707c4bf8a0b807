"""Lengths of time and moments, as they are said."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecatapp.spoken.durations import read_duration, say_duration
from pipecatapp.spoken.moments import read_moment, say_moment

BERLIN = ZoneInfo("Europe/Berlin")
FRIDAY_AT_TEN = datetime(2026, 3, 27, 10, tzinfo=BERLIN)  #: two days before summer time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("twelve minutes", 720), ("two minutes", 120), ("12 minutes", 720), ("twenty-five minutes", 1500),
        ("an hour", 3600), ("an hour and a half", 5400), ("one and a half hours", 5400), ("1.5 hours", 5400),
        ("half an hour", 1800), ("a quarter of an hour", 900), ("three quarters of an hour", 2700),
        ("two hours and a half", 9000), ("an hour and a quarter", 4500), ("1h30m", 5400), ("90s", 90),
        ("1 hour, 5 minutes and 3 seconds", 3903), ("a minute", 60), ("ten sec", 10), ("two days", 172_800),
        ("5-minute", 300), ("A Week.", 604_800),
    ],
)  # fmt: skip
def test_a_length_of_time_is_read_as_it_is_said(text, seconds):
    assert read_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "twelve", "12", "bananas", "1 hour 30", "1 minute 2 hours", "-5 minutes", "0 minutes", "minutes",
     "ten bananas", "99999 weeks", "five minutes of fame", "an hour or two"],
)  # fmt: skip
def test_what_is_no_length_of_time_is_not_guessed_at(text):
    assert read_duration(text) is None


@given(st.integers(1, 59), st.sampled_from(["second", "minute"]))
def test_what_is_said_of_a_length_is_read_as_that_length(count, unit):
    length = timedelta(**{f"{unit}s": count})
    assert read_duration(say_duration(length)) == length


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("at 7", "19:00"), ("at seven", "19:00"), ("at 11", "11:00"), ("half past seven", "19:30"),
        ("quarter to eight", "19:45"), ("ten past six", "18:10"), ("twenty five to nine", "20:35"),
        ("noon", "12:00"), ("midnight", "00:00 tomorrow"), ("18:45", "18:45"), ("at 07:30", "07:30 tomorrow"),
        ("7pm", "19:00"), ("7:30 a.m.", "07:30 tomorrow"), ("at 12:15 am", "00:15 tomorrow"),
        ("seven o'clock", "19:00"), ("tonight at 8", "20:00"), ("at seven in the morning", "07:00 tomorrow"),
        ("tomorrow", "09:00 tomorrow"), ("tomorrow at 8", "08:00 tomorrow"),
        ("tomorrow at 3", "15:00 tomorrow"),
        ("tomorrow at 7 in the evening", "19:00 tomorrow"), ("today at 9", "21:00"),
        ("on Monday at noon", "12:00 on Monday, 30 March"), ("friday at 17:00", "17:00 on Friday, 3 April"),
        ("on 5 May at 9", "09:00 on Tuesday, 5 May"), ("1 January", "09:00 on Friday, 1 January 2027"),
        ("in twelve minutes", "10:12"), ("in an hour and a half", "11:30"),
    ],
)  # fmt: skip
def test_a_moment_is_the_next_one_that_is_meant(text, said):
    moment = read_moment(text, FRIDAY_AT_TEN, BERLIN)
    assert moment is not None
    assert say_moment(moment, FRIDAY_AT_TEN, BERLIN) == said


@pytest.mark.parametrize(
    "text", ["", "bananas", "25:00", "at", "7:99", "13pm", "the 31 February", "in bananas"]
)
def test_what_is_no_moment_is_not_guessed_at(text):
    assert read_moment(text, FRIDAY_AT_TEN, BERLIN) is None


@given(st.text(alphabet="0123456789: abdfhilmnoprstuwy'.", max_size=30))
def test_no_text_is_an_obstacle(text):
    read_duration(text)
    read_moment(text, FRIDAY_AT_TEN, BERLIN)


def test_tomorrow_is_the_households_tomorrow_around_midnight():
    late = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)  # 00:30 of the 2nd in Berlin
    assert read_moment("tomorrow at 8", late, BERLIN) == datetime(2026, 7, 3, 6, tzinfo=UTC)
    assert read_moment("tomorrow at 8", late, ZoneInfo("UTC")) == datetime(2026, 7, 2, 8, tzinfo=UTC)


def test_an_hour_keeps_its_name_over_the_change_to_summer_time_and_a_length_its_length():
    saturday = datetime(2026, 3, 28, 12, tzinfo=BERLIN)
    assert read_moment("tomorrow at noon", saturday, BERLIN) == datetime(2026, 3, 29, 10, tzinfo=UTC)
    assert read_moment("in 24 hours", saturday, BERLIN) == datetime(2026, 3, 29, 11, tzinfo=UTC)
    # 2:30 does not exist in that night.
    assert read_moment("tomorrow at 2:30 am", saturday, BERLIN) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
