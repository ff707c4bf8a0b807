"""Calls that a model wrote as text become calls, whatever the cover, however the text comes in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_expert.tool_calls.repair import MAX_CALL_CHARACTERS, CallReader
from llama_expert.tool_calls.written import Call

NAMES = frozenset(["add", "system_status"])
ADD = {"name": "add", "arguments": {"a": 1, "b": "two"}}
ADDED = Call("add", '{"a": 1, "b": "two"}')
STATUS = Call("system_status", "{}")
WRITTEN = json.dumps(ADD)


def read(*pieces: str) -> tuple[str, list[Call]]:
    """The text and the calls that come out of `pieces`."""
    reader = CallReader(NAMES)
    out = [one for piece in pieces for one in reader.feed(piece)] + reader.close()
    return "".join(one for one in out if isinstance(one, str)), [one for one in out if isinstance(one, Call)]


CALLS = [
    pytest.param(WRITTEN, id="bare"),
    pytest.param(f"\n\n{WRITTEN}\n", id="bare in white space"),
    pytest.param(json.dumps(ADD, indent=2), id="over several lines"),
    pytest.param(f"```json\n{WRITTEN}\n```", id="fenced"),
    pytest.param(f"```\n{WRITTEN}\n```", id="fenced without a language"),
    pytest.param(f"```json\n{WRITTEN}", id="fence never closed"),
    pytest.param(f"<tool_call>\n{WRITTEN}\n</tool_call>", id="tool_call"),
    pytest.param(f"<tool_call>{WRITTEN}", id="tool_call never closed"),
    pytest.param(f"<tools>{WRITTEN}</tools>", id="tools"),
    pytest.param(f"<tools>\n{WRITTEN}\n</tool", id="tools cut off"),
    pytest.param(f"```xml\n<tool_call>{WRITTEN}</tool_call>\n```", id="tag inside a fence"),
    pytest.param(f"[{WRITTEN}]", id="list of one"),
    pytest.param(f"<function=add>{json.dumps(ADD['arguments'])}</function>", id="function"),
    pytest.param(f"<function=add>{json.dumps(ADD['arguments'])}", id="function never closed"),
    pytest.param(
        "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\ntwo\n</parameter>\n"
        "</function>\n</tool_call>",
        id="function with parameters",
    ),
    pytest.param('{"name": "add", "parameters": {"a": 1, "b": "two"}}', id="parameters"),
    pytest.param(json.dumps({"type": "function", "function": ADD}), id="as in OpenAI's answers"),
    pytest.param(json.dumps({"tool_calls": [{"function": ADD}]}), id="a whole tool_calls"),
    pytest.param(json.dumps({**ADD, "arguments": json.dumps(ADD["arguments"])}), id="arguments as text"),
    pytest.param(json.dumps({"tool": "add", "arguments": ADD["arguments"]}), id="tool"),
]


@pytest.mark.parametrize("text", CALLS)
def test_a_call_in_any_cover_becomes_a_call_and_leaves_no_text(text: str) -> None:
    assert read(text) == ("", [ADDED])
    assert read(*text) == ("", [ADDED])


@pytest.mark.parametrize("text", CALLS)
def test_text_before_a_call_is_kept(text: str) -> None:
    assert read(f"I'll add them up. {text}") == ("I'll add them up.", [ADDED])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"[{WRITTEN}, {WRITTEN}]", id="list"),
        pytest.param(f"{WRITTEN}\n{WRITTEN}", id="one after the other"),
        pytest.param(f"```json\n{WRITTEN}\n{WRITTEN}\n```", id="in one fence"),
        pytest.param(f"<tools>{WRITTEN},\n{WRITTEN}</tools>", id="in one tag"),
        pytest.param(f"<tool_call>{WRITTEN}<tool_call>{WRITTEN}</tool_call>", id="first tag never closed"),
    ],
)
def test_several_calls_come_out_in_order(text: str) -> None:
    assert read(text) == read(*text) == ("", [ADDED, ADDED])


def test_text_around_calls_is_kept_without_the_space_before_them() -> None:
    text = f'First.\n\n<tool_call>{WRITTEN}</tool_call>\n\nThen {{"name": "system_status"}} and done.'
    assert read(text) == read(*text) == ("First.\n\nThen and done.", [ADDED, STATUS])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"name": "format_disk", "arguments": {}}', id="a tool that was not offered"),
        pytest.param('```json\n{"name": "format_disk", "arguments": {}}\n```', id="the same in a fence"),
        pytest.param("<function=format_disk>{}</function>", id="the same in a tag"),
        pytest.param('{"name": "add", "age": 3}', id="JSON that is no call"),
        pytest.param('{"name": "add", "arguments": [1]}', id="arguments that are a list"),
        pytest.param('{"name": {"a": 1}, "arguments": {}}', id="a name that is an object"),
        pytest.param('{"name": "add", "arguments": {"a": NaN}}', id="no JSON"),
        pytest.param('{"name": "add", "arguments": {"a":', id="cut off"),
        pytest.param('```python\nprint({"a": 1})\n```', id="a program"),
        pytest.param("a < b [1] {x} `code` ```", id="brackets"),
        pytest.param(f"[{WRITTEN}, 3]", id="a list of which only a part is a call"),
        pytest.param(
            f'{{"name": "add", "args": {{"a": {WRITTEN}}}, "b": 1}}', id="a call inside of what is none"
        ),
        pytest.param("<tool_call></tool_call>", id="an empty tag"),
        pytest.param("  indented\n\n", id="white space at both ends"),
        pytest.param("<tools>" * 3000, id="tags within tags"),
        pytest.param('{"name":' * 3000, id="brackets within brackets"),
    ],
)
def test_anything_else_stays_the_text_that_it_is(text: str) -> None:
    assert read(text) == (text, [])


def test_what_cannot_become_a_call_is_let_through_at_once() -> None:
    reader = CallReader(NAMES)
    assert reader.feed("The answer") == ["The answer"]
    assert reader.feed(" is {4") == [" is {4"]
    assert reader.feed("2}. ") == ["2}."]
    assert reader.feed('{"na') == []
    assert reader.feed('med": 1}') == [' {"named": 1}']


def test_a_call_comes_out_with_its_last_character() -> None:
    reader = CallReader(NAMES)
    assert reader.feed(WRITTEN[:-1]) == []
    assert reader.feed("}") == [ADDED]


def test_a_call_that_is_too_long_to_be_held_back_is_text() -> None:
    text = json.dumps({"name": "add", "arguments": {"a": "x" * MAX_CALL_CHARACTERS}})
    half = len(text) // 2
    assert read(text) == read(text[:half], text[half:]) == (text, [])


FRAGMENTS = [
    *(
        WRITTEN,
        '{"name": "system_status"}',
        '{"a": 1}',
        '"',
        "\\",
        "[",
        "]",
        "{",
        "}",
        ",",
        " ",
        "\n",
        "x",
        "é",
    ),
    *("```", "```json\n", "`", "<tool_call>", "</tool_call>", "<tools>", "</tools>", "</function>", "<"),
    *(
        "<function=add>",
        "<function=",
        "<parameter=a>",
        "</parameter>",
        '{"name": "add", "arguments": ',
        "text",
    ),
]
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join) | st.text(max_size=60)


@given(texts, st.data())
def test_however_a_text_is_cut_the_same_comes_out(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(*pieces) == read(text) == read(*text)


@given(texts)
def test_no_text_is_lost_and_none_is_made_up(text: str) -> None:
    said, calls = read(text)
    if not calls:
        assert said == text
    rest = iter(text)
    assert all(character in rest for character in said)  # in the same order
    assert all(call.name in NAMES and isinstance(json.loads(call.arguments), dict) for call in calls)
