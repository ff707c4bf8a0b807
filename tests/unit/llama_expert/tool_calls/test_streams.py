"""Streams that are changed on their way: calls are said as calls, usage is added up, all else passes."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clusterkit.http.openai_wire import DONE, chunk, error_body, sse, usage
from llama_expert.tool_calls.streams import EventChanger, call_repairer, usage_adder

NAMES = frozenset(["add"])
CALL = '{"name": "add", "arguments": {"a": 1}}'
SHARED: dict[str, Any] = {"id": "c", "model": "m", "created": 1}


def said(*pieces: str, finish: str = "stop") -> bytes:
    """A stream of llama.cpp that says `pieces`."""
    first = chunk(**SHARED, delta={"role": "assistant", "content": None})
    middle = [chunk(**SHARED, delta={"content": piece}) for piece in pieces]
    last = {**chunk(**SHARED, delta={}), "timings": {"predicted_n": 3}}
    last["choices"][0]["finish_reason"] = finish
    return b"".join(map(sse, [first, *middle, last, chunk(**SHARED, delta=None, usage=usage(7, 5))])) + DONE


def changed(changer: EventChanger, *data: bytes) -> bytes:
    return b"".join(map(changer.feed, data)) + changer.close()


def repairer(*, parallel: bool = True) -> EventChanger:
    return call_repairer(NAMES, lambda: "1", parallel=parallel)


def events(stream: bytes) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in stream.decode().splitlines() if line]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def deltas(stream: bytes) -> list[dict[str, Any]]:
    return [choice["delta"] for event in events(stream) for choice in event.get("choices", [])]


def test_a_call_in_the_text_of_a_stream_becomes_a_call_of_the_stream() -> None:
    out = changed(repairer(), said("I'll", " add. ", CALL[:9], CALL[9:]))
    assert deltas(out) == [
        {"role": "assistant", "content": None},
        {"content": "I'll"},
        {"content": " add."},
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "add", "arguments": '{"a": 1}'},
                }
            ]
        },
        {},
    ]
    *_, last, counted = events(out)
    assert last["choices"][0]["finish_reason"] == "tool_calls"
    assert last["timings"] == {"predicted_n": 3}
    assert counted == {**SHARED, "object": "chat.completion.chunk", "choices": [], "usage": usage(7, 5)}
    assert out.endswith(DONE)


def test_a_stream_without_a_call_says_what_it_said() -> None:
    stream = said("Four", " {4}", " is it. \n")
    assert "".join(delta.get("content") or "" for delta in deltas(changed(repairer(), stream))) == (
        "Four {4} is it. \n"
    )
    assert events(changed(repairer(), stream))[-2]["choices"][0]["finish_reason"] == "stop"


def test_an_answer_that_was_too_long_says_so_though_there_was_a_call() -> None:
    out = events(changed(repairer(), said(CALL, " and", finish="length")))
    assert out[-2]["choices"][0]["finish_reason"] == "length"


def test_only_the_first_call_is_passed_on_to_a_client_that_wants_one_at_a_time() -> None:
    out = changed(repairer(parallel=False), said(CALL, CALL))
    assert [len(delta.get("tool_calls", [])) for delta in deltas(out)] == [0, 1, 0]


def test_calls_that_the_model_server_found_itself_are_numbered_with_the_others() -> None:
    own = {"index": 0, "id": "x", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    stream = sse(chunk(**SHARED, delta={"content": CALL})) + sse(chunk(**SHARED, delta={"tool_calls": [own]}))
    calls = [call for delta in deltas(changed(repairer(), stream)) for call in delta.get("tool_calls", [])]
    assert [(call["index"], call["id"]) for call in calls] == [(0, "call_1"), (1, "x")]


def test_what_was_held_back_is_said_before_a_stream_breaks_off() -> None:
    begun = sse(chunk(**SHARED, delta={"content": '{"name": "add'}))
    for end in (b"", sse(error_body("cut", "server_error"))):
        out = events(changed(repairer(), begun + end))
        assert out[0]["choices"][0]["delta"] == {"content": '{"name": "add'}
        assert len(out) == (2 if end else 1)


def test_a_comment_that_keeps_the_connection_alive_passes() -> None:
    assert changed(repairer(), b": ping\n\n") == b": ping\n\n"


@given(st.lists(st.integers(0, 1000), max_size=6))
def test_however_a_stream_is_cut_the_same_comes_out(cuts: list[int]) -> None:
    stream = said("Well: ", CALL, " {", "}")
    places = sorted(min(cut, len(stream)) for cut in cuts)
    pieces = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]
    assert changed(repairer(), *pieces) == changed(repairer(), stream)


def test_the_tokens_of_the_decision_are_added_to_those_of_the_answer() -> None:
    stream = said("Four")
    out = changed(usage_adder(usage(100, 10)), stream)
    assert events(out)[-1]["usage"] == usage(107, 15)
    assert events(out)[:-1] == events(stream)[:-1]
