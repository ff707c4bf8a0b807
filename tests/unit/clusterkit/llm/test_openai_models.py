import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from openai import AsyncOpenAI

from clusterkit.llm.chat import ChatCall, ModelError
from clusterkit.llm.openai_models import OpenAiModels
from clusterkit.telemetry.tracing import Trace, use_trace
from clusterkit.testing import scripted_llm

CALL = ChatCall(model="main", messages=[{"role": "user", "content": "hi"}], temperature=0.5, max_tokens=9)
TURNS: list[Mapping[str, Any]] = [
    {"text": "one two three"},
    {"tool_calls": [{"name": "clock", "arguments": {"zone": "UTC"}}, {"name": "calculator"}]},
    {"text": "one two three", "cut_after": 2},
    {"status": 503, "retry_after": 7},
    {"status": 429, "retry_after": 3},
    {"status": 400},
    {"status": 500},
    {"stall_seconds": 60},
]


async def test_a_real_server_is_understood_in_all_its_moods():
    pieces = []

    async def on_text(piece):
        pieces.append(piece)

    async def failure():
        with pytest.raises(ModelError) as caught:
            await models.chat(CALL, on_text)
        return caught.value.code, caught.value.retry_after

    with scripted_llm(TURNS) as llm:
        async with AsyncOpenAI(base_url=f"{llm.url}/v1", api_key="none") as client:

            async def connect():
                return client

            models = OpenAiModels(connect)
            use_trace(Trace("a" * 32, "b" * 16))
            reply = await models.chat(CALL, on_text)
            assert reply.text == "".join(pieces) == "one two three"
            assert (reply.finish_reason, reply.tokens_out) == ("stop", 3)
            assert reply.tokens_in is not None
            assert reply.tokens_in > 0

            reply = await models.chat(CALL, on_text)
            assert [(request.name, request.arguments) for request in reply.tool_requests] == [
                ("clock", '{"zone": "UTC"}'), ("calculator", "{}")
            ]  # fmt: skip
            assert len({request.id for request in reply.tool_requests}) == 2

            assert (await failure())[0] == "network"
            assert await failure() == ("overloaded", 7)
            assert await failure() == ("rate_limit", 3)
            assert await failure() == ("model_refused", None)
            assert await failure() == ("overloaded", None)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await models.chat(CALL, on_text)
        requests = llm.requests()
    assert len(requests) == len(TURNS), "the client must not retry by itself"
    assert requests[0]["headers"]["traceparent"].split("-")[1] == "a" * 32
    assert requests[0]["body"] == {
        "model": "main", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5, "max_tokens": 9,
        "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip


async def test_a_server_that_is_not_there_is_a_network_failure(unused_tcp_port):
    async with AsyncOpenAI(base_url=f"http://127.0.0.1:{unused_tcp_port}/v1", api_key="none") as client:

        async def connect():
            return client

        async def on_text(piece):
            raise AssertionError(piece)

        with pytest.raises(ModelError) as caught:
            await OpenAiModels(connect).chat(CALL, on_text)
    assert caught.value.code == "network"
