from typing import Any

import pytest
from pydantic import ValidationError

from pipecatapp.nodes.intent import IntentConfig, IntentNode

RULES = [
    {
        "tool": "lamp",
        "match": "turn (?P<state>on|off) the lamp(?: in the (?P<room>\\w+))?",
        "args": {"dim": 1},
    },
    {"tool": "any_lamp", "match": ".*lamp.*"},
]


async def recognise(text):
    nothing: Any = None
    return await IntentNode().run(IntentConfig.model_validate({"text": text, "rules": RULES}), nothing)


async def test_the_first_rule_that_matches_the_whole_text_wins_and_names_its_arguments():
    assert await recognise("  Turn ON the\nlamp ") == {
        "matched": True, "tool": "lamp", "args": {"dim": 1, "state": "ON"}
    }  # fmt: skip
    assert (await recognise("turn on the lamp in the hall"))["args"]["room"] == "hall"
    assert (await recognise("please turn on the lamp"))["tool"] == "any_lamp"


@pytest.mark.parametrize("text", ["", "hello", "lamp" + "x" * 500])
async def test_what_no_rule_matches_or_is_too_long_is_not_recognised(text):
    assert await recognise(text) == {"matched": False, "tool": "", "args": {}}


def test_a_rule_that_is_no_regular_expression_is_refused():
    with pytest.raises(ValidationError, match="not a regular expression"):
        IntentConfig.model_validate({"text": "", "rules": [{"tool": "x", "match": "(?P<a"}]})
