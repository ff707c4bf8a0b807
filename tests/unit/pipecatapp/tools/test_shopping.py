import pytest

from pipecatapp.tools.base import ToolError
from pipecatapp.tools.shopping import ListAdd, ListRemove, ListShow


@pytest.fixture
def shopping(home):
    return home.memory.shopping


async def test_things_are_put_on_the_list_once_each(home, shopping):
    assert await home.say(ListShow(shopping)) == "The shopping list is empty."
    assert await home.say(ListAdd(shopping), items="milk, eggs and two loaves of bread") == (
        "Milk, eggs and two loaves of bread are on the shopping list now."
    )
    assert await home.say(ListAdd(shopping), items="Egg and tea") == (
        "Tea is on the shopping list now. Egg is on the shopping list already."
    )
    assert await home.say(ListShow(shopping)) == "- milk\n- eggs\n- two loaves of bread\n- tea"


async def test_things_are_taken_off_by_their_words(home, shopping):
    await home.say(ListAdd(shopping), items="milk, eggs and two loaves of bread")
    assert await home.say(ListRemove(shopping), items="bread and the milk") == (
        "Milk and two loaves of bread are off the shopping list."
    )
    assert (await home.call(ListShow(shopping))).data == {"items": ["eggs"]}


async def test_everything_is_taken_off(home, shopping):
    await home.say(ListAdd(shopping), items="milk and eggs")
    assert await home.say(ListRemove(shopping), items="everything") == "The shopping list is empty now."
    assert (await home.call(ListShow(shopping))).data == {"items": []}


async def test_what_is_not_on_the_list_changes_nothing(home, shopping):
    await home.say(ListAdd(shopping), items="milk")
    with pytest.raises(ToolError, match="tea is not on the shopping list; the list is as it was"):
        await home.say(ListRemove(shopping), items="tea")
    with pytest.raises(ToolError, match="the list is as it was"):
        await home.say(ListAdd(shopping), items=" , and ")
    assert (await home.call(ListShow(shopping))).data == {"items": ["milk"]}
