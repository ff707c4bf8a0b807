"""The judge of the understanding benchmark sees what is right, wrong and leaked."""

from collections import Counter

import pytest

from tests.benchmarks.understanding.report import Outcome, report
from tests.benchmarks.understanding.scoring import Expectation, Message, ToolCall, read_messages, score

MESSAGES = read_messages()
TOOLS = ("set_timer", "calculator")


def message(*either: Expectation, kind: str = "command") -> Message:
    return Message("set a timer", kind, (), either, "report")


NOTHING = message(Expectation(None, {}), kind="trap")
TIMER = message(Expectation("set_timer", {"seconds": 720, "label": "pasta"}))
SUM = message(Expectation("calculator", {"result": 40.8}))


def test_there_are_messages_enough_of_every_kind_each_said_in_three_ways() -> None:
    kinds = Counter(one.kind for one in MESSAGES)
    assert len(MESSAGES) >= 300
    assert set(kinds) == {"command", "question", "chat", "follow_up", "correction", "ambiguous", "trap"}
    assert all(number % 3 == 0 for number in kinds.values())
    assert len({(one.text, one.before) for one in MESSAGES}) == len(MESSAGES)


def test_no_way_of_saying_a_thing_is_in_both_halves() -> None:
    halves = Counter(one.half for one in MESSAGES)
    assert abs(halves["tuning"] - halves["report"]) <= 3
    said = {half: {(one.text, one.before) for one in MESSAGES if one.half == half} for half in halves}
    assert not said["tuning"] & said["report"]


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        ({"seconds": 720, "label": "the pasta"}, True),
        ({"seconds": "720", "label": "Pasta"}, True),
        ({"seconds": 2, "label": "pasta"}, False),
        ({"seconds": 720, "label": "eggs"}, False),
        ({"seconds": 720}, False),
        ({"seconds": True, "label": "pasta"}, False),
    ],
)
def test_arguments_are_right_when_numbers_are_equal_and_words_are_there(
    arguments: dict[str, object], right: bool
) -> None:
    judged = score(TIMER, [ToolCall("set_timer", arguments)], "", TOOLS)
    assert (judged.right_tool, judged.right_arguments) == (True, right)


@pytest.mark.parametrize(
    ("output", "right"),
    [("12% of 340 = 40.8", True), ({"result": "204/5"}, True), ("408", False), ("40", False), (None, False)],
)
def test_a_sum_is_judged_by_what_came_out(output: object, right: bool) -> None:
    made = [ToolCall("calculator", {"expression": "12% of 340"}, output)]
    assert score(SUM, made, "", TOOLS).right_arguments is right


def test_another_tool_or_one_more_is_not_the_right_one() -> None:
    good = ToolCall("set_timer", {"seconds": 720, "label": "pasta"})
    assert not score(TIMER, [], "", TOOLS).right_tool
    assert not score(TIMER, [ToolCall("calculator", {})], "", TOOLS).right_tool
    assert not score(TIMER, [good, ToolCall("calculator", {})], "", TOOLS).right_arguments


def test_any_call_is_a_wrong_action_where_none_is_wanted() -> None:
    assert score(NOTHING, [], "It is a clock.", TOOLS).right_arguments
    assert score(NOTHING, [ToolCall("set_timer", {})], "", TOOLS).wrong_action
    assert not score(TIMER, [ToolCall("calculator", {})], "", TOOLS).wrong_action
    either = message(Expectation(None, {}), Expectation("set_timer", {}))
    assert score(either, [], "", TOOLS).right_tool
    assert not score(either, [ToolCall("set_timer", {})], "", TOOLS).wrong_action


@pytest.mark.parametrize(
    ("reply", "leaked"),
    [
        ('{"name": "set_timer", "arguments": {}}', True),
        ('Sure.\n```json\n{ "tool" : "set_timer" }\n```', True),
        ("<tool_call>set_timer</tool_call>", True),
        ("<function=calculator>", True),
        ('A JSON object has names: {"name": "Anna"}', False),
        ("I set the timer.", False),
    ],
)
def test_a_call_that_a_person_reads_is_a_leak(reply: str, leaked: bool) -> None:
    assert score(NOTHING, [], reply, TOOLS).leaked is leaked


def test_the_report_counts_shares_and_stages() -> None:
    def outcome(one: Message, *calls: ToolCall, asked: int) -> Outcome:
        return Outcome(one, score(one, calls, "", TOOLS), calls, "", asked, 0.25, False)

    right = outcome(TIMER, ToolCall("set_timer", {"seconds": 720, "label": "pasta"}), asked=0)
    wrong = outcome(NOTHING, ToolCall("set_timer", {}), asked=2)
    told = report("a model", "report", [right, wrong])
    assert "right tool: 50.0% (1 of 2; target at least 95%)" in told
    assert "wrong action: 100.0% (1 of 1; target at most 1%)" in told
    assert "by no model: 1, right tool 100.0%, median 250 ms" in told
    assert "by model: 1, right tool 0.0%" in told
    assert report("a model", "report", []) == "no message was asked\n"
    assert wrong.miss()["calls"] == [{"set_timer": {}}]
