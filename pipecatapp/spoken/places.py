"""Time zones by the names that people use for them."""

from functools import cache
from zoneinfo import ZoneInfo, available_timezones

#: Names that are in no zone of the IANA database, and the zone that holds there.
_OTHERS = {
    "san francisco": "America/Los_Angeles", "seattle": "America/Los_Angeles",
    "california": "America/Los_Angeles", "las vegas": "America/Los_Angeles",
    "washington": "America/New_York", "boston": "America/New_York", "miami": "America/New_York",
    "houston": "America/Chicago", "texas": "America/Chicago", "montreal": "America/Toronto",
    "england": "Europe/London", "scotland": "Europe/London", "wales": "Europe/London",
    "britain": "Europe/London", "uk": "Europe/London", "ireland": "Europe/Dublin",
    "edinburgh": "Europe/London", "germany": "Europe/Berlin", "munich": "Europe/Berlin",
    "hamburg": "Europe/Berlin", "frankfurt": "Europe/Berlin", "cologne": "Europe/Berlin",
    "france": "Europe/Paris", "italy": "Europe/Rome", "milan": "Europe/Rome",
    "barcelona": "Europe/Madrid", "spain": "Europe/Madrid", "austria": "Europe/Vienna",
    "switzerland": "Europe/Zurich", "geneva": "Europe/Zurich", "netherlands": "Europe/Amsterdam",
    "sweden": "Europe/Stockholm", "norway": "Europe/Oslo", "denmark": "Europe/Copenhagen",
    "finland": "Europe/Helsinki", "greece": "Europe/Athens", "poland": "Europe/Warsaw",
    "turkey": "Europe/Istanbul", "india": "Asia/Kolkata", "mumbai": "Asia/Kolkata",
    "delhi": "Asia/Kolkata", "new delhi": "Asia/Kolkata", "bangalore": "Asia/Kolkata",
    "china": "Asia/Shanghai", "beijing": "Asia/Shanghai", "japan": "Asia/Tokyo", "osaka": "Asia/Tokyo",
    "korea": "Asia/Seoul", "thailand": "Asia/Bangkok", "vietnam": "Asia/Ho_Chi_Minh",
    "new zealand": "Pacific/Auckland", "hawaii": "Pacific/Honolulu", "south africa": "Africa/Johannesburg",
    "cape town": "Africa/Johannesburg", "egypt": "Africa/Cairo", "kenya": "Africa/Nairobi",
    "utc": "UTC", "gmt": "UTC",
}  # fmt: skip


def zone_of(place: str) -> ZoneInfo | None:
    """The time zone of an IANA name (`Europe/Berlin`) or of a place (`Berlin`, `New York`), or None."""
    plain = " ".join(place.lower().removeprefix("the ").replace("_", " ").split())
    name = _OTHERS.get(plain) or _names().get(plain)
    return ZoneInfo(name) if name else None


@cache
def _names() -> dict[str, str]:
    """Whole names and the names of their places. Reads the time zone database, once."""
    names: dict[str, str] = {}
    for name in sorted(available_timezones()):
        area, _, rest = name.partition("/")
        if rest and area not in ("Etc", "posix", "right", "SystemV"):
            names.setdefault(rest.rpartition("/")[2].lower().replace("_", " "), name)
        names[name.lower().replace("_", " ")] = name
    return names
