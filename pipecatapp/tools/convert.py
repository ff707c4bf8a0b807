"""Units: exact factors from pint, so that nothing is added by the computer's own numbers."""

import asyncio
from fractions import Fraction
from functools import cache
from typing import Any, ClassVar

from pydantic import Field

from pipecatapp.spoken.measures import Unit, read_measure, read_unit
from pipecatapp.tools.base import Risk, ToolArguments, ToolContext, ToolError, ToolResult
from pipecatapp.workflow.errors import ErrorCode

SHOWN_DIGITS = 6  #: significant digits of a result
EXAMPLES = "for example 3 cups to ml, 72 °F to °C or 5 miles to km"


class Convert:
    """Turns a quantity into another unit."""

    name: ClassVar[str] = "convert"
    aliases: ClassVar[tuple[str, ...]] = ()
    description: ClassVar[str] = (
        "Convert a quantity to another unit, exactly: volume, weight, length, temperature."
    )
    risk: ClassVar[Risk] = Risk.READ

    class Arguments(ToolArguments):
        """What to convert."""

        quantity: str = Field(max_length=100, description="A number with its unit, for example 3 cups.")
        to: str = Field(max_length=50, description="The unit of the answer, for example ml.")

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """The quantity, as data {"quantity", "to", "result", "exact"} and as text. Raises `ToolError`."""
        measure, unit = read_measure(arguments.quantity), read_unit(arguments.to)
        if measure is None or unit is None:
            unknown = arguments.quantity if measure is None else arguments.to
            raise ToolError(
                f"I do not know the quantity or unit {unknown!r}; {EXAMPLES}", ErrorCode.BAD_ARGUMENTS
            )
        # The first time pint reads its definitions, for the better part of a second.
        value = await asyncio.to_thread(_converted, *measure, unit)
        number, exact = _shown(value)
        data = {"quantity": arguments.quantity, "to": unit.shown, "result": number, "exact": exact}
        about = "" if exact else "about "
        return ToolResult(data, f"{arguments.quantity} is {about}{number} {unit.after(number)}.")


def _converted(number: Fraction, unit: Unit, to: Unit) -> Fraction:
    import pint

    try:
        value: Fraction = _registry().Quantity(number, unit.pint).to(to.pint).magnitude
    except pint.DimensionalityError as error:
        raise ToolError(
            f"{unit.shown} cannot be turned into {to.shown}: they measure different things"
        ) from error
    return Fraction(value)


@cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry(non_int_type=Fraction)


def _shown(value: Fraction) -> tuple[str, bool]:
    """A number for people, whole or with `SHOWN_DIGITS` significant digits, and whether it is exact."""
    if value.denominator == 1:
        return str(value.numerator), True
    places = 0
    while abs(value) * 10**places < 10 ** (SHOWN_DIGITS - 1) and (value * 10**places).denominator != 1:
        places += 1
    rounded = round(value * 10**places)
    text = str(abs(rounded)).rjust(places + 1, "0")
    whole, decimals = text[: len(text) - places], text[len(text) - places :].rstrip("0")
    sign = "-" if rounded < 0 else ""
    return f"{sign}{whole}{'.' if decimals else ''}{decimals}", Fraction(rounded, 10**places) == value
