"""The agent as an OpenAI chat model: shapes, refusals and failures."""

from typing import Any

import orjson
import pytest
from openai import APIStatusError, AsyncOpenAI

from clusterkit.http.openai_wire import chunk, sse, usage
from clusterkit.testing import Turn
from pipecatapp.web.main_model import MainModel
from tests.servers.agent import CHAT, RunningAgent, Silence, events_of, question, text_of
from tests.servers.raw_upstream import Exchange
from tests.unit.pipecatapp.web.conftest import MakeAgent

STORY = Turn(text="Once upon a time there was a hearth.")


def official(agent: RunningAgent) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{agent.url}/v1", api_key=agent.token, max_retries=0)


async def test_a_whole_answer_has_the_shape_of_openai_and_the_usage_of_the_model(agent: RunningAgent) -> None:
    await agent.says(STORY)
    answer = await agent.ask("Tell me a story.")
    assert answer.status_code == 200
    body = answer.json()
    assert body["object"] == "chat.completion"
    assert body["model"] == "hearth"
    assert body["id"] == f"chatcmpl-{body['hearth']['run']}"
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": STORY.text}
    assert (choice["index"], choice["finish_reason"]) == (0, "stop")
    assert body["usage"]["completion_tokens"] == len(STORY.text.split())
    assert body["usage"]["prompt_tokens"] > 0
    assert body["usage"]["total_tokens"] == sum(
        body["usage"][part] for part in ("prompt_tokens", "completion_tokens")
    )
    assert body["hearth"]["tools"] == []


@pytest.mark.parametrize("wants_usage", [True, False])
async def test_a_streamed_answer_has_the_shape_of_openai(agent: RunningAgent, wants_usage: bool) -> None:
    await agent.says(STORY)
    options = {"stream_options": {"include_usage": True}} if wants_usage else {}
    answer = await agent.ask("Tell me a story.", stream=True, **options)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, end = events_of(answer.text)
    assert end == "[DONE]"
    assert text_of(events) == STORY.text
    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    roles = [one for one in events if one["choices"] and "role" in one["choices"][0]["delta"]]
    assert len(roles) == 1
    assert {(one["object"], one["model"], one["id"]) for one in events} == {
        ("chat.completion.chunk", "hearth", events[0]["id"])
    }
    reasons = [one["choices"][0]["finish_reason"] for one in events if one["choices"]]
    assert [reason for reason in reasons if reason] == ["stop"]
    counted = [one for one in events if "usage" in one]
    assert len(counted) == (1 if wants_usage else 0)
    if wants_usage:
        assert counted[0]["choices"] == []
        assert counted[0]["usage"]["completion_tokens"] == len(STORY.text.split())
        assert events[-1] is counted[0]


async def test_the_tools_that_answered_are_named(agent: RunningAgent) -> None:
    whole = (await agent.ask("what is 17 * 23")).json()
    assert whole["choices"][0]["message"]["content"] == "391"
    assert whole["hearth"]["tools"] == ["calculator"]
    *events, _ = events_of((await agent.ask("what is 17 * 23", stream=True)).text)
    assert [one["hearth"]["tools"] for one in events if "hearth" in one] == [["calculator"]]


async def test_the_conversation_before_reaches_the_model_without_foreign_tool_calls(
    agent: RunningAgent,
) -> None:
    asked: list[bytes] = []

    async def remember(exchange: Exchange) -> None:
        asked.append(exchange.body)
        await exchange.stream([sse(chunk(id="c", model="m", created=0, delta={}, finish_reason="stop"))])

    await agent.behaves(remember)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "And now?"},
    ]
    assert (await agent.ask("", messages=messages)).status_code == 200
    sent = orjson.loads(asked[0])["messages"]
    assert [(one["role"], one["content"]) for one in sent[1:]] == [
        ("system", "Be brief."),
        ("user", "Hello"),
        ("assistant", "Hi."),
        ("user", "And now?"),
    ]


async def test_the_official_client_gets_both_kinds_of_answer(agent: RunningAgent) -> None:
    await agent.says(STORY)
    messages: Any = [{"role": "user", "content": "Tell me a story."}]
    async with official(agent) as client:
        whole = await client.chat.completions.create(model="hearth", messages=messages)
        assert whole.choices[0].message.content == STORY.text
        stream = await client.chat.completions.create(model="hearth", messages=messages, stream=True)
        pieces = [one.choices[0].delta.content or "" async for one in stream]
    assert "".join(pieces) == STORY.text
    assert len(pieces) > 3


async def test_the_official_client_raises_a_failure(agent: RunningAgent) -> None:
    async with official(agent) as client:
        with pytest.raises(APIStatusError) as failed:
            await client.chat.completions.create(
                model="hearth", messages=[{"role": "user", "content": "Hello"}]
            )
    assert failed.value.status_code == 503


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic abc", "Bearer"])
async def test_callers_without_the_token_are_turned_away(
    agent: RunningAgent, authorization: str | None
) -> None:
    del agent.client.headers["authorization"]
    headers = {} if authorization is None else {"authorization": authorization}
    answer = await agent.client.post(CHAT, json=question("what is 1 + 1"), headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        pytest.param(b"", 400, None, id="empty"),
        pytest.param(b"\xff\xfe{}", 400, None, id="not UTF-8"),
        pytest.param(b"hello", 400, None, id="not JSON"),
        pytest.param(b"[]", 400, None, id="no object"),
        pytest.param(b"[" * 100_000, 400, None, id="endlessly deep"),
        pytest.param(b"{}", 400, "model", id="no model"),
        pytest.param(b'{"model":"hearth"}', 400, "messages", id="no messages"),
        pytest.param(b'{"model":"hearth","messages":[]}', 400, "messages", id="no message"),
        pytest.param(
            b'{"model":"hearth","messages":[{"role":"user","content":"\\ud800"}]}',
            400,
            "messages",
            id="half a character",
        ),
        pytest.param(b'{"model":"hearth","x":"' + b"a" * 10_000_000 + b'"}', 413, None, id="10 MB"),
        pytest.param(orjson.dumps(question("hi", model="gpt-4o")), 404, "model", id="another model"),
        pytest.param(
            orjson.dumps(question("hi", tools=[{"type": "function"}])), 400, "tools", id="tools of the client"
        ),
        pytest.param(orjson.dumps(question("  ")), 400, "messages", id="a blank question"),
        pytest.param(
            orjson.dumps(question("", messages=[{"role": "assistant", "content": "hi"}])),
            400,
            "messages",
            id="last word not the user's",
        ),
    ],
)
async def test_a_bad_request_is_explained_in_the_shape_of_openai(
    agent: RunningAgent, body: bytes, status: int, param: str | None
) -> None:
    answer = await agent.client.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    if param is not None:
        assert error["param"] == param


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("turn", "status"),
    [
        pytest.param(None, 503, id="no gateway"),
        pytest.param(Turn(status=503), 503, id="overloaded"),
        pytest.param(Turn(status=429), 503, id="rate limit"),
        pytest.param(Turn(status=400), 400, id="refused"),
    ],
)
async def test_a_failure_before_the_first_word_has_its_own_status(
    agent: RunningAgent, stream: bool, turn: Turn | None, status: int
) -> None:
    if turn is not None:
        await agent.says(turn)
    answer = await agent.ask("Tell me a story.", stream=stream)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    assert ("retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_says_nothing_in_time_is_a_timeout(make_agent: MakeAgent, stream: bool) -> None:
    async with make_agent(default_timeout_seconds=0.1) as agent:
        await agent.behaves(Silence())
        answer = await agent.ask("Tell me a story.", stream=stream)
        assert answer.status_code == 504
        assert answer.json()["error"]["code"] == "timeout"


async def test_a_failure_in_mid_answer_ends_the_stream_with_an_error_and_without_done(
    make_agent: MakeAgent,
) -> None:
    async with make_agent(default_timeout_seconds=0.3) as agent:
        begun = sse(chunk(id="c", model="m", created=0, delta={"content": "Once upon"}))
        await agent.behaves(Silence([begun]))
        answer = await agent.ask("Tell me a story.", stream=True)
        assert answer.status_code == 200
        *events, last = events_of(answer.text)
        assert text_of(events) == "Once upon"
        assert last["error"]["code"] == "timeout"
        assert not [one for one in events if one["choices"][0]["finish_reason"]]


async def test_a_model_that_is_cut_off_is_asked_again_on_a_line_of_its_own(agent: RunningAgent) -> None:
    await agent.says(Turn(text="Once upon a time", cut_after=3), STORY)
    *events, end = events_of((await agent.ask("Tell me a story.", stream=True)).text)
    assert end == "[DONE]"
    assert text_of(events) == f"Once upon\n{STORY.text}"


async def test_a_mistake_of_our_own_is_answered_and_not_waited_for(agent: RunningAgent) -> None:
    async def broken() -> MainModel:
        raise RuntimeError("planted")

    agent.agent.turns._model = broken
    for stream in (False, True):
        answer = await agent.ask("what is 1 + 1", stream=stream)
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal"
        assert "planted" not in answer.text
    assert (await agent.logged("turn"))["status"] == "crashed"


async def test_a_person_s_page_needs_no_token_and_is_always_streamed(agent: RunningAgent) -> None:
    del agent.client.headers["authorization"]
    answer = await agent.client.post("/api/chat", json={"messages": question("what is 6 * 7")["messages"]})
    *events, end = events_of(answer.text)
    assert (text_of(events), end) == ("42", "[DONE]")
    refused = await agent.client.post("/api/chat", json={"messages": []})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "messages"


async def test_the_usage_of_an_answer_without_a_model_is_none(agent: RunningAgent) -> None:
    assert (await agent.ask("what is 1 + 1")).json()["usage"] == usage(0, 0)
