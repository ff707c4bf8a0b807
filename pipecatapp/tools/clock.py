"""The date and time."""

from datetime import datetime, tzinfo
from typing import ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field

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
            None, max_length=64, description="IANA time zone such as Europe/Berlin; left out: this machine's."
        )

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """The moment, as data {"time", "date", "weekday", "zone", "utc_offset"} and as text."""
        zone = find_zone(arguments.zone) if arguments.zone else None
        moment = context.clock.now().astimezone(zone)
        name = arguments.zone or moment.tzname() or "local time"
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


def find_zone(name: str) -> tzinfo:
    """The time zone of an IANA name. Raises `ToolError`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ToolError(f"unknown time zone {name!r}; use an IANA name such as Europe/Berlin") from error


def _offset(moment: datetime) -> str:
    return moment.isoformat()[-6:]
