"""What the agent's workflow is told of the household beside the question."""

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from pipecatapp.tools.introduction import abilities_of


def about_household(
    household: str, now: datetime, zone: tzinfo | None, tools: Sequence[str]
) -> Mapping[str, str]:
    """The inputs `household`, `today` and `abilities`; `zone` None is this machine's own.

    The time is left out: a prompt that is the same all day is read once by the model server.
    """
    local = now.astimezone(zone)
    name = zone.key if isinstance(zone, ZoneInfo) else local.tzname() or "local time"
    return {
        "household": household or "this household",
        "today": f"{local:%A}, {local.day} {local:%B %Y} ({name})",
        "abilities": ", ".join(abilities_of(tools)) or "talk",
    }
