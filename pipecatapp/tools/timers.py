"""Timers and reminders. They are kept in the database; `pipecatapp/turns/ringing.py` lets them ring."""

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any, ClassVar

from pydantic import Field

from pipecatapp.memory.alarms import Alarm, AlarmKind, Alarms
from pipecatapp.memory.words import keywords, to_you
from pipecatapp.spoken.durations import read_duration, say_duration
from pipecatapp.spoken.moments import read_moment, say_moment
from pipecatapp.spoken.numbers import words_to_digits
from pipecatapp.tools.base import Risk, ToolArguments, ToolContext, ToolError, ToolResult
from pipecatapp.workflow.errors import ErrorCode

ALL = frozenset({"all", "everything", "all timers", "all reminders", "all of them"})


class SetTimer:
    """Starts a timer."""

    name: ClassVar[str] = "set_timer"
    aliases: ClassVar[tuple[str, ...]] = ()
    description: ClassVar[str] = "Start a timer that rings after a time. Only when the person asks for one."
    risk: ClassVar[Risk] = Risk.KEEP

    class Arguments(ToolArguments):
        """How long."""

        duration: str = Field(max_length=100, description="How long: 12 minutes, an hour and a half.")
        label: str = Field("", max_length=200, description="What it is for: pizza.")

    def __init__(self, alarms: Alarms) -> None:
        """`alarms`: where it is kept."""
        self._alarms = alarms

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """The timer, as data {"duration", "seconds", "label", "due"} and as text. Raises `ToolError`."""
        length = read_duration(arguments.duration)
        if length is None:
            raise ToolError(
                f"I do not understand how long {arguments.duration!r} is; say for example '12 minutes'. "
                "No timer was set",
                ErrorCode.BAD_ARGUMENTS,
            )
        alarm = await self._alarms.set_timer(length, arguments.label.strip())
        at = say_moment(alarm.due, context.clock.now(), context.zone)
        name = f" ({alarm.label})" if alarm.label else ""
        data = {"seconds": round(length.total_seconds()), **_data(alarm)}
        return ToolResult(data, f"A timer of {say_duration(length)}{name} is running; it rings at {at}.")


class SetReminder:
    """Sets a reminder."""

    name: ClassVar[str] = "set_reminder"
    aliases: ClassVar[tuple[str, ...]] = ("set_alarm",)
    description: ClassVar[str] = (
        "Remind the person of something at a time. Only when they ask to be reminded."
    )
    risk: ClassVar[Risk] = Risk.KEEP

    class Arguments(ToolArguments):
        """Of what, and when."""

        what: str = Field(max_length=500, description="What to remind of: call Anna.")
        when: str = Field(
            "",
            max_length=100,
            description="When: tomorrow at 8, half past seven, in 20 minutes; left out: `what` says it too.",
        )

    def __init__(self, alarms: Alarms) -> None:
        """`alarms`: where it is kept."""
        self._alarms = alarms

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """The reminder, as data {"label", "due"} and as text. Raises `ToolError`."""
        now = context.clock.now()
        if arguments.when:
            what, due = arguments.what, _read_due(arguments.when, now, context.zone)
        else:
            what, due = _split(arguments.what, now, context.zone)
        if due is None:
            raise ToolError(
                f"I do not understand when {arguments.when or arguments.what!r} is; say for example "
                "'tomorrow at 8' or 'in 20 minutes'. No reminder was set",
                ErrorCode.BAD_ARGUMENTS,
            )
        label = what.strip(" ,.").removeprefix("to ").removeprefix("that ") or "your reminder"
        alarm = await self._alarms.set_reminder(due, label)
        at = say_moment(due, now, context.zone)
        return ToolResult(_data(alarm), f"I will remind you at {at}: {to_you(label)}.")


class ListTimers:
    """Says what will ring."""

    name: ClassVar[str] = "list_timers"
    aliases: ClassVar[tuple[str, ...]] = ("list_reminders",)
    description: ClassVar[str] = "Say which timers run and which reminders are set."
    risk: ClassVar[Risk] = Risk.READ

    class Arguments(ToolArguments):
        """Nothing to choose."""

    def __init__(self, alarms: Alarms) -> None:
        """`alarms`: where they are kept."""
        self._alarms = alarms

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """All of them, the next one first, as data {"timers"} and as text, one to a line."""
        pending = await self._alarms.pending()
        data = {"timers": [_data(alarm) for alarm in pending]}
        if not pending:
            return ToolResult(data, "No timer is running, and no reminder is set.")
        now = context.clock.now()
        lines = [_line(alarm, now, context.zone) for alarm in pending]
        return ToolResult(data, lines[0] if len(lines) == 1 else "\n".join(f"- {line}" for line in lines))


class CancelTimer:
    """Cancels a timer or a reminder."""

    name: ClassVar[str] = "cancel_timer"
    aliases: ClassVar[tuple[str, ...]] = ("cancel_reminder",)
    description: ClassVar[str] = "Cancel a timer or a reminder. Only when the person asks for it."
    risk: ClassVar[Risk] = Risk.KEEP

    class Arguments(ToolArguments):
        """Which one."""

        which: str = Field(
            "", max_length=200, description="Its words: pizza, 12 minutes; or: all. Left out: the only one."
        )

    def __init__(self, alarms: Alarms) -> None:
        """`alarms`: where they are kept."""
        self._alarms = alarms

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """What was cancelled, as data {"timers"} and as text. Raises `ToolError` when that is not clear."""
        everything = arguments.which.strip().lower() in ALL
        asked = keywords(words_to_digits(arguments.which)) - {"all"}
        now, zone = context.clock.now(), context.zone
        meant = [alarm for alarm in await self._alarms.pending() if everything or asked <= _words(alarm)]
        if not meant:
            which = f" {arguments.which!r}" if arguments.which and not everything else ""
            raise ToolError(f"there is no timer or reminder{which}; nothing was cancelled")
        if len(meant) > 1 and not everything:
            lines = "; ".join(_line(alarm, now, zone).rstrip(".") for alarm in meant)
            raise ToolError(f"several may be meant ({lines}); say which, or 'all'. Nothing was cancelled")
        numbers = {alarm.id for alarm in meant}
        gone = await self._alarms.cancel(lambda alarm: alarm.id in numbers)
        names = " and ".join(name_of(alarm) for alarm in gone)
        return ToolResult({"timers": [_data(alarm) for alarm in gone]}, f"Cancelled: {names}.")


def name_of(alarm: Alarm) -> str:
    """An alarm for people: `the timer of 12 minutes (pizza)`, `the reminder: call Anna`."""
    if alarm.kind is AlarmKind.REMINDER or alarm.length is None:
        return f"the reminder: {to_you(alarm.label)}"
    return f"the timer of {say_duration(alarm.length)}{f' ({alarm.label})' if alarm.label else ''}"


def _line(alarm: Alarm, now: datetime, zone: tzinfo | None) -> str:
    name, at = name_of(alarm), say_moment(alarm.due, now, zone)
    name = name[0].upper() + name[1:]
    if alarm.due <= now:
        return f"{name}, which was due at {at}."
    if alarm.kind is AlarmKind.TIMER:
        return f"{name} rings at {at}, in {say_duration(alarm.due - now)}."
    return f"{name}, at {at}."


def _data(alarm: Alarm) -> dict[str, Any]:
    return {"kind": alarm.kind.value, "label": alarm.label, "due": alarm.due.isoformat()}


def _words(alarm: Alarm) -> frozenset[str]:
    length = say_duration(alarm.length) if alarm.length is not None else ""
    return keywords(words_to_digits(f"{alarm.kind.value} {alarm.label} {length}"))


def _read_due(text: str, now: datetime, zone: tzinfo | None) -> datetime | None:
    length = read_duration(text)
    return now + length if length is not None else read_moment(text, now, zone)


def _split(text: str, now: datetime, zone: tzinfo | None) -> tuple[str, datetime | None]:
    """What is said of the thing and of the time, which ends the text or begins it."""
    words: Sequence[str] = text.split()
    for at in range(len(words)):
        if (due := read_moment(" ".join(words[at:]), now, zone)) is not None:
            return " ".join(words[:at]), due
    for at in range(len(words) - 1, 0, -1):
        if (due := read_moment(" ".join(words[:at]), now, zone)) is not None:
            return " ".join(words[at:]), due
    return text, None
