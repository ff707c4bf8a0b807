from typing import Any

import pytest

from clusterkit.testing import FakeClock
from pipecatapp.sentences.slots import SLOT_KINDS
from pipecatapp.spoken.measures import _UNITS, read_measure
from pipecatapp.tools.base import ToolContext, ToolError
from pipecatapp.tools.convert import Convert, _registry
from pipecatapp.tools.registry import check_arguments


async def convert(quantity, to):
    tool: Any = Convert()
    return await tool.run(check_arguments(tool, {"quantity": quantity, "to": to}), ToolContext(FakeClock()))


@pytest.mark.parametrize(
    ("quantity", "to", "text"),
    [
        ("3 cups", "ml", "3 cups is about 709.765 ml."),
        ("three cups", "millilitres", "three cups is about 709.765 ml."),
        ("72 °F", "°C", "72 °F is about 22.2222 °C."),
        ("-40°F", "celsius", "-40°F is -40 °C."),
        ("100 degrees Celsius", "Fahrenheit", "100 degrees Celsius is 212 °F."),
        ("a mile", "km", "a mile is about 1.60934 km."),
        ("5 km", "metres", "5 km is 5000 m."),
        ("1 inch", "cm", "1 inch is 2.54 cm."),
        ("half a litre", "ml", "half a litre is 500 ml."),
        ("0.1 kg", "g", "0.1 kg is 100 g."),
        ("1 m", "km", "1 m is 0.001 km."),
        ("90 minutes", "hours", "90 minutes is 1.5 hours."),
        ("100 mph", "km/h", "100 mph is about 160.934 km/h."),
        ("3 feet", "inches", "3 feet is 36 inches."),
        ("2 sq ft", "m2", "2 sq ft is about 0.185806 m²."),
    ],
)
async def test_a_quantity_is_turned_into_another_unit_without_the_noise_of_binary_numbers(quantity, to, text):
    assert (await convert(quantity, to)).text == text


async def test_the_result_says_whether_it_is_exact():
    assert (await convert("1 inch", "cm")).data == {
        "quantity": "1 inch",
        "to": "cm",
        "result": "2.54",
        "exact": True,
    }
    assert (await convert("3 cups", "ml")).data["exact"] is False


@pytest.mark.parametrize(
    ("quantity", "to", "problem"),
    [
        ("3 cups", "kg", "cup cannot be turned into kg"),
        ("3 apples", "kg", "quantity or unit '3 apples'"),
        ("cups", "ml", "quantity or unit 'cups'"),
        ("3 cups", "bananas", "quantity or unit 'bananas'"),
    ],
)
async def test_what_cannot_be_converted_is_refused_and_says_why(quantity, to, problem):
    with pytest.raises(ToolError, match=problem):
        await convert(quantity, to)


def test_pint_knows_every_unit():
    for name in _UNITS:
        assert _registry().Quantity(1, name).units


@pytest.mark.parametrize("text", ["3 cups", "a cup", "2½ miles", "one and a half hours", "half a mile"])
def test_a_measure_is_a_number_with_its_unit(text):
    assert read_measure(text) is not None
    assert SLOT_KINDS["measure"](text)


@pytest.mark.parametrize("text", ["cups", "3", "the story", "3 cups of tea", "m", "love"])
def test_a_text_that_is_none_is_no_measure(text):
    assert read_measure(text) is None
