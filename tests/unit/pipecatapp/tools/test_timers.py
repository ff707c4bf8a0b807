import pytest

from pipecatapp.tools.base import ToolError
from pipecatapp.tools.timers import CancelTimer, ListTimers, SetReminder, SetTimer


@pytest.fixture
def alarms(home):
    return home.memory.alarms


@pytest.mark.parametrize(
    ("duration", "seconds", "text"),
    [
        ("twelve minutes", 720, "A timer of 12 minutes is running; it rings at 10:12."),
        ("two hours", 7200, "A timer of 2 hours is running; it rings at 12:00."),
        ("an hour and a half", 5400, "A timer of 1 hour, 30 minutes is running; it rings at 11:30."),
        ("90s", 90, "A timer of 1 minute, 30 seconds is running; it rings at 10:01:30."),
    ],
)
async def test_a_timer_runs_as_long_as_was_said(home, alarms, duration, seconds, text):
    result = await home.call(SetTimer(alarms), duration=duration)
    assert (result.data["seconds"], result.text) == (seconds, text)
    (alarm,) = await alarms.pending()
    assert (alarm.due - home.clock.now()).total_seconds() == seconds


@pytest.mark.parametrize(
    "duration", ["bananas", "twelve", "0 minutes", "-5 minutes", "1 minute 2 hours", "x" * 99]
)
async def test_a_length_that_is_not_understood_sets_no_timer_and_that_is_said(home, alarms, duration):
    with pytest.raises(ToolError, match=r"I do not understand how long .* No timer was set"):
        await home.say(SetTimer(alarms), duration=duration)
    assert await alarms.pending() == []


@pytest.mark.parametrize(
    ("what", "when", "text"),
    [
        ("call mum", "tomorrow at 7", "I will remind you at 07:00 tomorrow: call mum."),
        ("call my mum", "half past seven", "I will remind you at 19:30: call your mum."),
        ("to call mum tomorrow at half past seven", "", "I will remind you at 07:30 tomorrow: call mum."),
        ("in 20 minutes to check the oven", "", "I will remind you at 10:20: check the oven."),
        ("to buy 7 eggs on monday", "", "I will remind you at 09:00 on Monday, 30 March: buy 7 eggs."),
        ("feed the cat", "20 minutes", "I will remind you at 10:20: feed the cat."),
    ],
)
async def test_a_reminder_is_set_for_when_was_said(home, alarms, what, when, text):
    assert await home.say(SetReminder(alarms), what=what, when=when) == text


async def test_a_reminder_without_a_time_is_not_set_and_that_is_said(home, alarms):
    with pytest.raises(ToolError, match=r"I do not understand when 'buy milk' is.* No reminder was set"):
        await home.say(SetReminder(alarms), what="buy milk")
    assert await alarms.pending() == []


async def test_what_runs_is_told_the_next_one_first(home, alarms):
    assert await home.say(ListTimers(alarms)) == "No timer is running, and no reminder is set."
    await home.say(SetReminder(alarms), what="call mum", when="noon")
    assert await home.say(ListTimers(alarms)) == "The reminder: call mum, at 12:00."
    await home.say(SetTimer(alarms), duration="12 minutes", label="pizza")
    await home.clock.advance(60)
    assert await home.say(ListTimers(alarms)) == (
        "- The timer of 12 minutes (pizza) rings at 10:12, in 11 minutes.\n"
        "- The reminder: call mum, at 12:00."
    )


@pytest.mark.parametrize("which", ["pizza", "the twelve minute timer", "12 minutes"])
async def test_a_timer_is_cancelled_by_its_words(home, alarms, which):
    await home.say(SetTimer(alarms), duration="12 minutes", label="pizza")
    await home.say(SetTimer(alarms), duration="1 hour")
    assert await home.say(CancelTimer(alarms), which=which) == "Cancelled: the timer of 12 minutes (pizza)."
    assert [alarm.label for alarm in await alarms.pending()] == [""]


async def test_the_only_timer_needs_no_words(home, alarms):
    await home.say(SetTimer(alarms), duration="12 minutes")
    assert await home.say(CancelTimer(alarms)) == "Cancelled: the timer of 12 minutes."
    assert await alarms.pending() == []


async def test_all_are_cancelled(home, alarms):
    await home.say(SetTimer(alarms), duration="12 minutes")
    await home.say(SetReminder(alarms), what="call mum", when="noon")
    assert await home.say(CancelTimer(alarms), which="all") == (
        "Cancelled: the timer of 12 minutes and the reminder: call mum."
    )


@pytest.mark.parametrize(("which", "problem"), [("", "several may be meant"), ("pasta", "there is no timer")])
async def test_when_it_is_not_clear_which_timer_is_meant_none_is_cancelled(home, alarms, which, problem):
    await home.say(SetTimer(alarms), duration="12 minutes")
    await home.say(SetTimer(alarms), duration="1 hour")
    with pytest.raises(ToolError, match=f"{problem}.*othing was cancelled"):
        await home.say(CancelTimer(alarms), which=which)
    assert len(await alarms.pending()) == 2
