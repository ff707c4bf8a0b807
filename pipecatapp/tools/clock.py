"""The date and time."""

from datetime import datetime
from typing import ClassVar
from zoneinfo import ZoneInfo

from pydantic import Field

from pipecatapp.spoken.places import zone_of
from pipecatapp.tools.base import Risk, ToolArguments, ToolContext, ToolError, ToolResult


class ClockTool:
    """Says what time it is, here or in another time zone."""

    name: ClassVar[str] = "clock"
    aliases: ClassVar[tuple[str, ...]] = ()
    description: ClassVar[str] = "Say the current date and time."
    risk: ClassVar[Risk] = Risk.READ

    class Arguments(ToolArguments):
        """Where to read the time."""

        zone: str | None = Field(
            None,
            max_length=64,
            description="A place such as Berlin or an IANA time zone such as Europe/Berlin; left out: here.",
        )

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """The moment, as data {"time", "date", "weekday", "zone", "utc_offset"} and as text."""
        zone = find_zone(arguments.zone) if arguments.zone else context.zone
        moment = context.clock.now().astimezone(zone)
        name = zone.key if isinstance(zone, ZoneInfo) else moment.tzname() or "local time"
        data = {
            "time": moment.strftime("%H:%M:%S"),
            "date": moment.date().isoformat(),
            "weekday": moment.strftime("%A"),
            "zone": name,
            "utc_offset": _offset(moment),
        }
        where = name if name == "UTC" else f"{name}, UTC{_offset(moment)}"
        day = f"{moment:%A}, {moment.day} {moment:%B %Y}"
        return ToolResult(data, f"It is {moment:%H:%M:%S} on {day} ({where}).")


def find_zone(name: str) -> ZoneInfo:
    """The time zone of a place or of an IANA name. Raises `ToolError`."""
    zone = zone_of(name)
    if zone is None:
        raise ToolError(f"unknown time zone {name!r}; use a large city or an IANA name such as Europe/Berlin")
    return zone


def is_place(text: str) -> bool:
    """Whether the time zone of a place is known."""
    return zone_of(text) is not None


def _offset(moment: datetime) -> str:
    return moment.isoformat()[-6:]
