"""Quantities as they are said: `3 cups`, `a mile and a half`, `72 °F`. Which unit is meant; no conversion."""

import re
from dataclasses import dataclass
from fractions import Fraction

from pipecatapp.spoken.numbers import MAX_CHARACTERS, read_number


@dataclass(frozen=True)
class Unit:
    """A unit by the name that pint has for it, and by the one that people read."""

    pint: str
    shown: str

    def after(self, number: str) -> str:
        """The name as it stands after a number: `cups`, and `km` always."""
        if number == "1" or self.shown == "psi" or self.shown != self.pint.replace("_", " "):
            return self.shown
        return {"foot": "feet", "inch": "inches"}.get(self.shown, f"{self.shown}s")


#: pint's name: the name to show, and further names. Where the United States and others differ, it is theirs.
_UNITS = {
    "milliliter": "ml millilitre", "centiliter": "cl centilitre", "deciliter": "dl decilitre",
    "liter": "l litre", "meter**3": "m³ cubic_meter cubic_metre m3", "cup": "cup", "pint": "pint pt",
    "quart": "quart qt", "gallon": "gallon gal", "fluid_ounce": "fluid_ounce fl_oz",
    "tablespoon": "tablespoon tbsp", "teaspoon": "teaspoon tsp", "milligram": "mg milligramme",
    "gram": "g gramme", "kilogram": "kg kilo kilogramme", "metric_ton": "t tonne", "ounce": "oz",
    "pound": "lb lbs", "stone": "stone", "millimeter": "mm millimetre", "centimeter": "cm centimetre",
    "meter": "m metre", "kilometer": "km kilometre", "inch": "inch inches in", "foot": "foot feet ft",
    "yard": "yard yd", "mile": "mile", "nautical_mile": "nautical_mile",
    "meter**2": "m² square_meter square_metre m2",
    "kilometer**2": "km² square_kilometer square_kilometre km2", "foot**2": "square_foot square_feet sq_ft",
    "acre": "acre", "hectare": "hectare ha", "mile**2": "square_mile",
    "degree_Celsius": "°C celsius degrees_celsius degree_celsius centigrade degrees_c c",
    "degree_Fahrenheit": "°F fahrenheit degrees_fahrenheit degree_fahrenheit degrees_f f",
    "kelvin": "K kelvins", "millisecond": "ms", "second": "second sec s", "minute": "minute min",
    "hour": "hour hr h", "day": "day", "week": "week",
    "kilometer/hour": "km/h kph kmh kilometers_per_hour kilometres_per_hour",
    "mile/hour": "mph miles_per_hour", "meter/second": "m/s meters_per_second metres_per_second",
    "knot": "knot kn", "joule": "J", "kilojoule": "kJ", "calorie": "cal", "kilocalorie": "kcal",
    "watt_hour": "Wh", "kilowatt_hour": "kWh", "watt": "W", "kilowatt": "kW", "horsepower": "hp",
    "pascal": "Pa", "bar": "bar", "psi": "psi", "atmosphere": "atm",
}  # fmt: skip
_GAP = re.compile(r"(?<=\d)(?=[a-z°])|(?<=½)(?=[a-z])")


def _names() -> dict[str, Unit]:
    names: dict[str, Unit] = {}
    for pint, words in _UNITS.items():
        shown, *others = (word.replace("_", " ") for word in words.split())
        unit = Unit(pint, shown)
        for name in (shown, *others, pint.replace("_", " ")):
            names[name.lower()] = names[f"{name.lower()}s"] = unit
    return names


_BY_NAME = _names()


def read_unit(text: str) -> Unit | None:
    """The unit of that name, in the singular or plural, or None."""
    return _BY_NAME.get(" ".join(text.lower().strip(".").split()))


def read_measure(text: str) -> tuple[Fraction, Unit] | None:
    """The quantity that `text` says as a whole, or None."""
    if len(text) > MAX_CHARACTERS:
        return None
    words = _GAP.sub(" ", text.lower()).split()
    for split in range(1, len(words)):
        unit = read_unit(" ".join(words[split:]))
        number = read_number(" ".join(words[:split]))
        if unit is not None and number is not None:
            return number, unit
    return None
