"""Requests with tools, answered through a model server that says what Qwen2.5-Coder-1.5B really said."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from starlette.types import Receive, Scope, Send

from clusterkit.http.answers import send_error
from clusterkit.http.openai_wire import ApiError, completion, usage
from clusterkit.http.request_body import MAX_BODY_BYTES, read_body
from clusterkit.proxy.exchange import UpstreamRequest
from clusterkit.proxy.forward import Forwarded, forward
from clusterkit.proxy.upstream import UpstreamPool
from llama_expert.tool_calls.layer import ToolCalls
from llama_expert.tool_calls.offered import tools_asked
from tests.servers.asgi_server import serving
from tests.servers.raw_upstream import EVENT_STREAM, Exchange, RawUpstream, raw_upstream

RECORDED = Path(__file__).parents[3] / "data/qwen"
TOOLS: Any = [
    {
        "type": "function",
        "function": {"name": "system_status", "description": "State of this cluster."},
    },
    {
        "type": "function",
        "function": {
            "name": "calculator",
            "description": "Computes an arithmetic expression.",
            "parameters": {
                "type": "object",
                "properties": {"expression": {"type": "string"}},
                "required": ["expression"],
            },
        },
    },
]
ASKED: Any = [{"role": "user", "content": "How is it?"}]
CALLED: Any = [
    {"id": "c1", "type": "function", "function": {"name": "system_status", "arguments": "{}"}},
]
ANSWERED: Any = [
    *ASKED,
    {"role": "assistant", "content": None, "tool_calls": CALLED},
    {"role": "tool", "tool_call_id": "c1", "content": "All is well."},
]


def recorded(name: str) -> bytes:
    return (RECORDED / name).read_bytes()


def said(content: str, finish_reason: Any = "stop") -> bytes:
    return json.dumps(
        completion(
            id="c", model="m", created=1, text=content, finish_reason=finish_reason, usage=usage(100, 10)
        )
    ).encode()


@dataclass
class Answer:
    """What the official client made of an answer, streamed or not."""

    text: str | None
    calls: list[tuple[str, str]]
    finish_reason: str | None
    tokens: int


async def whole(client: openai.AsyncOpenAI, **more: Any) -> Answer:
    answer = await client.chat.completions.create(model="m", **{"messages": ASKED, "tools": TOOLS, **more})
    [choice] = answer.choices
    calls = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or []]
    return Answer(choice.message.content, calls, choice.finish_reason, answer.usage.total_tokens)


async def streamed(client: openai.AsyncOpenAI, **more: Any) -> Answer:
    asked = {"messages": ASKED, "tools": TOOLS, "stream_options": {"include_usage": True}, **more}
    text, calls, finish, tokens = "", dict[int, list[str]](), None, 0
    async for chunk in await client.chat.completions.create(model="m", stream=True, **asked):
        tokens = chunk.usage.total_tokens if chunk.usage else tokens
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or []:
                parts = calls.setdefault(call.index, ["", ""])
                parts[0] += call.function.name or ""
                parts[1] += call.function.arguments or ""
    return Answer(text or None, [(name, given) for name, given in calls.values()], finish, tokens)


Ask = Callable[..., Awaitable[Answer]]
both = pytest.mark.parametrize("ask", [whole, streamed])


@dataclass
class Kit:
    """A client in front of the layer, and the model server behind it."""

    client: openai.AsyncOpenAI
    model: RawUpstream

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The bodies that reached the model server."""
        return [json.loads(exchange.body) for exchange in self.model.requests]


@asynccontextmanager
async def layer(mode: str, answers: Sequence[bytes], *, status: int = 200) -> AsyncIterator[Kit]:
    """The layer over a model server that gives `answers` in turn, the last one for ever after."""

    async def behave(exchange: Exchange) -> None:
        answer = answers[min(len(model.requests), len(answers)) - 1]
        if answer.startswith(b"data:"):
            await exchange.head(200, EVENT_STREAM)
            for start in range(0, len(answer), 100):
                await exchange.chunk(answer[start : start + 100])
            await exchange.chunk(b"")
        else:
            await exchange.answer(answer, status=status)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(scope, receive, MAX_BODY_BYTES)
        assert body is not None

        async def pass_on(changed: bytes, answer: Send) -> Forwarded:
            request = UpstreamRequest(
                host=model.host, port=model.port, method="POST", target=b"/", body=changed
            )
            return await forward(pool, request, receive, answer)

        try:
            asked = tools_asked(body)
            assert asked is not None
            calls = ToolCalls(asked, 4096, pass_on, send, lambda: "1")
            await (calls.repaired() if mode == "repair" else calls.decided())
        except ApiError as error:
            await send_error(send, error)

    pool = UpstreamPool()
    async with raw_upstream(behave) as model, serving(app) as url:
        async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0, timeout=10) as client:
            yield Kit(client, model)
        await pool.close()


def tokens_of(*names: str) -> int:
    return sum(json.loads(recorded(name))["usage"]["total_tokens"] for name in names)


@both
@pytest.mark.parametrize(
    ("name", "call"),
    [("status", ("system_status", "{}")), ("sum", ("calculator", '{"expression": "12% * 340"}'))],
)
async def test_a_call_that_qwen_writes_as_text_reaches_the_client_as_a_call(
    ask: Ask, name: str, call: tuple[str, str]
) -> None:
    async with layer("repair", [recorded(f"{name}.{'json' if ask is whole else 'sse'}")]) as kit:
        answer = await ask(kit.client)
    assert (answer.text, answer.calls, answer.finish_reason) == (None, [call], "tool_calls")
    assert answer.tokens == tokens_of(f"{name}.json")


@both
async def test_a_decision_of_qwen_reaches_the_client_as_a_call(ask: Ask) -> None:
    async with layer("schema", [recorded("decided_status.json")]) as kit:
        answer = await ask(kit.client)
        [asked] = kit.asked
    assert (answer.text, answer.calls, answer.finish_reason) == (
        None,
        [("system_status", "{}")],
        "tool_calls",
    )
    assert answer.tokens == tokens_of("decided_status.json")
    assert asked["response_format"]["type"] == "json_schema"
    assert "tools" not in asked


@both
async def test_without_need_of_a_tool_the_model_answers_as_ever_and_knows_of_none(ask: Ask) -> None:
    words = recorded("words.json" if ask is whole else "words.sse")
    async with layer("schema", [recorded("decided_none.json"), words]) as kit:
        answer = await ask(kit.client, temperature=0.5, tool_choice="auto", parallel_tool_calls=True)
        _, asked = kit.asked
    assert answer.text == json.loads(recorded("words.json"))["choices"][0]["message"]["content"]
    assert answer.calls == []
    assert answer.tokens == tokens_of("decided_none.json", "words.json")
    assert asked["messages"] == ASKED
    assert asked["temperature"] == 0.5
    assert not asked.keys() & {"tools", "tool_choice", "parallel_tool_calls"}


@both
@pytest.mark.parametrize("mode", ["repair", "schema"])
async def test_a_client_that_wants_no_call_gets_words_at_once(ask: Ask, mode: str) -> None:
    async with layer(mode, [recorded("words.json" if ask is whole else "words.sse")]) as kit:
        answer = await ask(kit.client, tool_choice="none")
        [asked] = kit.asked
    assert answer.calls == []
    assert answer.text
    assert "tools" not in asked


async def test_a_client_that_wants_a_tool_leaves_the_model_no_way_out() -> None:
    async with layer("schema", [said('{"tool": "calculator", "arguments": {"expression": "1"}}')]) as kit:
        named = {"type": "function", "function": {"name": "calculator"}}
        answer = await whole(kit.client, tool_choice=named)
        [asked] = kit.asked
    assert answer.calls == [("calculator", '{"expression": "1"}')]
    [way] = asked["response_format"]["json_schema"]["schema"]["anyOf"]
    assert way["properties"]["tool"] == {"const": "calculator"}


async def test_a_named_choice_leaves_a_repaired_model_that_tool_alone() -> None:
    async with layer("repair", [recorded("status.json")]) as kit:
        await whole(kit.client, tool_choice={"type": "function", "function": {"name": "system_status"}})
        [asked] = kit.asked
    assert [one["function"]["name"] for one in asked["tools"]] == ["system_status"]
    assert asked["tool_choice"] == "required"


async def test_arguments_that_do_not_fit_are_asked_for_again_with_what_is_wrong() -> None:
    right = said('{"tool": "calculator", "arguments": {"expression": "1"}}')
    async with layer("schema", [said('{"tool": "calculator", "arguments": {}}'), right]) as kit:
        answer = await whole(kit.client)
        _, again = kit.asked
    assert answer.calls == [("calculator", '{"expression": "1"}')]
    assert answer.tokens == 220
    assert "'expression' is a required property" in again["messages"][-1]["content"]


@both
async def test_a_model_that_never_comes_to_an_end_is_said_to_after_the_second_try(ask: Ask) -> None:
    loop = said('{"tool": "calculator", "arguments": {"expression": "1 + 1 + 1 + 1', "length")
    async with layer("schema", [loop]) as kit:
        with pytest.raises(openai.InternalServerError, match="no end after 512 tokens") as failed:
            await ask(kit.client)
        assert [asked["max_tokens"] for asked in kit.asked] == [512, 512]
    assert failed.value.code == "tool_call_failed"


async def test_a_result_is_answered_in_words_that_the_template_of_the_model_knows() -> None:
    async with layer("schema", [said('{"tool":"none"}'), recorded("words.json")]) as kit:
        await whole(kit.client, messages=ANSWERED)
        decision, words = kit.asked
    assert "All is well." not in json.dumps(decision)
    [message] = words["messages"]
    assert "Result of system_status:\nAll is well." in message["content"]


async def test_another_tool_after_a_result_gets_its_arguments_with_the_result_in_view() -> None:
    call = said('{"tool":"calculator","arguments":{"expression":"2"}}')
    async with layer("schema", [call]) as kit:
        answer = await whole(kit.client, messages=ANSWERED)
        first, second = kit.asked
    assert answer.calls == [("calculator", '{"expression": "2"}')]
    assert "All is well." not in json.dumps(first)
    assert "All is well." in json.dumps(second)
    ways = second["response_format"]["json_schema"]["schema"]["anyOf"]
    assert [way["properties"]["tool"]["const"] for way in ways] == ["none", "calculator"]


async def test_what_the_model_server_refuses_is_told_as_it_says_it() -> None:
    problem = b'{"error": {"message": "the request exceeds the available context size", "code": 400}}'
    async with layer("schema", [problem], status=400) as kit:
        with pytest.raises(openai.BadRequestError, match="exceeds the available context size"):
            await whole(kit.client)


async def test_a_schema_that_makes_no_sense_is_the_clients_mistake() -> None:
    function: Mapping[str, Any] = {
        "name": "t",
        "parameters": {"type": "object", "properties": {"a": {"type": "strnig"}}, "required": ["a"]},
    }
    async with layer("schema", [said('{"tool": "t", "arguments": {"a": 1}}')]) as kit:
        with pytest.raises(openai.BadRequestError, match="the JSON schema of its parameters cannot be used"):
            await whole(kit.client, tools=[{"type": "function", "function": function}])
