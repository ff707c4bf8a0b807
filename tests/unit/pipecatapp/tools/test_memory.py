import pytest

from pipecatapp.tools.base import ToolError
from pipecatapp.tools.memory import Forget, Recall, Remember

WIFI = "the wifi password is on the fridge"


@pytest.fixture
def tools(home):
    return Remember(home.memory.facts), Recall(home.memory.facts), Forget(home.memory.facts)


async def test_a_fact_is_found_by_its_words(home, tools):
    remember, recall, _ = tools
    await home.say(remember, fact="our boiler was serviced in May")
    assert await home.say(remember, fact="my Wi-Fi password is on the fridge.") == (
        "I will remember that your Wi-Fi password is on the fridge."
    )
    for question in ("wifi password", "where is my wifi password?", "the password of the wifi"):
        assert await home.say(recall, question=question) == "Your Wi-Fi password is on the fridge."
    assert await home.say(recall, question="boilers") == "Your boiler was serviced in May."


async def test_what_was_not_told_is_not_made_up(home, tools):
    remember, recall, _ = tools
    await home.say(remember, fact=WIFI)
    result = await home.call(recall, question="my phone password")
    assert result.text == "I have not been told anything about your phone password."
    assert result.data == {"facts": []}


async def test_without_a_question_everything_is_told_the_newest_first(home, tools):
    remember, recall, _ = tools
    assert await home.say(recall) == "I have not been told anything."
    await home.say(remember, fact=WIFI)
    await home.clock.advance(1)
    await home.say(remember, fact="Anna likes tea")
    assert await home.say(recall) == "- Anna likes tea.\n- The wifi password is on the fridge."


async def test_a_corrected_fact_replaces_the_old_one_and_that_is_said(home, tools):
    remember, recall, _ = tools
    await home.say(remember, fact=WIFI)
    assert await home.say(remember, fact="the wifi password is behind the door") == (
        "I will remember that the wifi password is behind the door. "
        "I have forgotten that the wifi password is on the fridge."
    )
    assert (await home.call(recall, question="wifi")).data == {
        "facts": ["the wifi password is behind the door"]
    }


async def test_another_property_of_the_same_thing_stays_beside_the_first(home, tools):
    remember, recall, _ = tools
    await home.say(remember, fact=WIFI)
    await home.say(remember, fact="the wifi password is swordfish")
    assert len((await home.call(recall, question="wifi password")).data["facts"]) == 2


async def test_the_same_fact_twice_is_one(home, tools):
    remember, recall, _ = tools
    await home.say(remember, fact=WIFI)
    assert await home.say(remember, fact=WIFI.upper()) == f"I knew that already: {WIFI.upper()}."
    await home.say(remember, fact="Anna likes tea")
    await home.say(remember, fact="Anna likes tea")
    assert len((await home.call(recall)).data["facts"]) == 2


@pytest.mark.parametrize("words", ["wifi password", "the Wi-Fi", WIFI])
async def test_a_fact_is_forgotten_by_its_words(home, tools, words):
    remember, recall, forget = tools
    await home.say(remember, fact=WIFI)
    await home.say(remember, fact="Anna likes tea")
    assert await home.say(forget, fact=words) == f"I have forgotten that {WIFI}."
    assert (await home.call(recall)).data == {"facts": ["Anna likes tea"]}


async def test_of_several_the_one_about_nothing_else_is_forgotten(home, tools):
    remember, recall, forget = tools
    await home.say(remember, fact="the key is under the mat")
    await home.say(remember, fact="the garage key is in the drawer")
    await home.say(forget, fact="the key")
    assert (await home.call(recall)).data == {"facts": ["the garage key is in the drawer"]}


@pytest.mark.parametrize(
    ("words", "problem"), [("tea", "several facts"), ("phone", "told nothing"), ("it", "told nothing")]
)
async def test_when_it_is_not_clear_what_to_forget_nothing_is(home, tools, words, problem):
    remember, recall, forget = tools
    await home.say(remember, fact="Anna likes tea")
    await home.say(remember, fact="Ben hates tea")
    with pytest.raises(ToolError, match=f"{problem}.*nothing was forgotten"):
        await home.say(forget, fact=words)
    assert len((await home.call(recall)).data["facts"]) == 2


async def test_a_fact_without_words_is_not_kept(home, tools):
    with pytest.raises(ToolError, match="nothing was kept"):
        await home.say(tools[0], fact="that is it")
