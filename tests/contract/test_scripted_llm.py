"""The scripted model speaks OpenAI as the official client understands it, and misbehaves as told."""

import httpx
import openai
import pytest
from pydantic import ValidationError

from clusterkit.testing import ScriptedAnswer, scripted_llm

ASK: dict[str, object] = {"model": "main", "messages": [{"role": "user", "content": "hello"}]}


def client(url: str, timeout: float = 30) -> openai.OpenAI:
    http = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0, timeout=timeout, http_client=http)


def chat(llm: openai.OpenAI, **more: object) -> openai.types.chat.ChatCompletion:
    made = llm.chat.completions.create(**{**ASK, **more})  # type: ignore[call-overload]
    assert isinstance(made, openai.types.chat.ChatCompletion)
    return made


def test_turns_are_given_in_order_and_the_last_one_for_ever() -> None:
    with scripted_llm([{"text": "one two"}, {"text": "three"}]) as running, client(running.url) as llm:
        assert [chat(llm).choices[0].message.content for _ in range(3)] == ["one two", "three", "three"]
        made = chat(llm)
        assert (made.choices[0].finish_reason, made.model) == ("stop", "main")
        assert made.usage is not None
        assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens > 0


def test_text_is_streamed_in_pieces_and_counted_when_asked_for() -> None:
    with scripted_llm([{"text": "one two  three"}]) as running, client(running.url) as llm:
        chunks = list(llm.chat.completions.create(**ASK, stream=True))  # type: ignore[call-overload]
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
        assert "".join(pieces) == "one two  three"
        assert sum(map(bool, pieces)) == 4
        assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "stop"
        assert all(chunk.usage is None for chunk in chunks)
        counted = list(
            llm.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})  # type: ignore[call-overload]
        )
        assert counted[-1].choices == []
        whole = chat(llm)
        assert whole.usage is not None
        assert counted[-1].usage.completion_tokens == whole.usage.completion_tokens == 3


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_called(stream: bool) -> None:
    turn = {"tool_calls": [{"name": "add", "arguments": {"a": 1}}, {"name": "clock"}]}
    with scripted_llm([turn]) as running, client(running.url) as llm:
        if stream:
            chunks = list(llm.chat.completions.create(**ASK, stream=True))  # type: ignore[call-overload]
            calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
            finished = chunks[-1].choices[0].finish_reason
        else:
            choice = chat(llm).choices[0]
            calls, finished = choice.message.tool_calls or [], choice.finish_reason
    assert finished == "tool_calls"
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == [
        ("call_0", "add", '{"a": 1}'),
        ("call_1", "clock", "{}"),
    ]


def test_it_can_stall() -> None:
    with scripted_llm([{"stall_seconds": 60}]) as running:
        with client(running.url, timeout=0.3) as llm, pytest.raises(openai.APITimeoutError):
            chat(llm)
        (asked,) = running.requests()
        assert not asked["finished"]


def test_it_can_fail_and_say_when_to_come_back() -> None:
    turns = [{"status": 429, "retry_after": 7}, {"status": 500}]
    with scripted_llm(turns) as running, client(running.url) as llm:
        with pytest.raises(openai.RateLimitError) as caught:
            chat(llm)
        assert caught.value.response.headers["retry-after"] == "7"
        assert "scripted failure" in caught.value.message
        with pytest.raises(openai.InternalServerError) as failed:
            chat(llm)
        assert "retry-after" not in failed.value.response.headers


def test_it_can_cut_a_stream_in_half() -> None:
    got: list[str] = []
    with scripted_llm([{"text": "one two three", "cut_after": 3}]) as running, client(running.url) as llm:
        chunks = llm.chat.completions.create(**ASK, stream=True)  # type: ignore[call-overload]
        with pytest.raises((openai.APIError, httpx.RemoteProtocolError)):
            got.extend(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert "".join(got) == "one two"
        assert [asked["finished"] for asked in running.requests()] == [False]


def test_it_remembers_what_it_was_asked() -> None:
    with scripted_llm([{"text": "ok"}]) as running, client(running.url) as llm:
        chat(llm, temperature=0.5)
        (asked,) = running.requests()
    assert asked["body"]["messages"] == ASK["messages"]
    assert asked["body"]["temperature"] == 0.5
    assert asked["headers"]["authorization"] == "Bearer k"
    assert asked["finished"]


def test_two_scripts_do_not_share_anything() -> None:
    with scripted_llm([{"text": "a"}]) as one, scripted_llm([ScriptedAnswer(text="b")]) as other:
        assert one.port != other.port
        with client(one.url) as first, client(other.url) as second:
            assert chat(first).choices[0].message.content == "a"
            assert chat(second).choices[0].message.content == "b"


def test_a_script_with_a_mistake_is_refused() -> None:
    with pytest.raises(ValidationError, match="txt"), scripted_llm([{"txt": "typo"}]):
        pass
