"""How many turns run at once, and that each one's answer is its own."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest

from clusterkit.http.openai_wire import chunk, sse
from tests.servers.agent import RunningAgent, Silence, events_of, text_of, within
from tests.servers.raw_upstream import EVENT_STREAM, Exchange
from tests.unit.pipecatapp.web.conftest import MakeAgent

SHARED: Any = {"id": "c", "model": "main", "created": 0}
Text = Callable[[httpx.Response], str]


def whole(answer: httpx.Response) -> str:
    said: str = answer.json()["choices"][0]["message"]["content"]
    return said


def streamed(answer: httpx.Response) -> str:
    *events, end = events_of(answer.text)
    assert end == "[DONE]"
    return text_of(events)


@pytest.mark.req("GTW-05")
@pytest.mark.parametrize(("stream", "text"), [(False, whole), (True, streamed)], ids=["whole", "streamed"])
async def test_a_hundred_at_once_each_get_their_own_answer(
    make_agent: MakeAgent, stream: bool, text: Text
) -> None:
    async with make_agent(max_waiting_turns=100) as agent:
        asked = [agent.ask(f"what is {number} + 1000", stream=stream) for number in range(100)]
        answers = await asyncio.gather(*asked)
        assert [text(answer) for answer in answers] == [str(number + 1000) for number in range(100)]
        ids = {answer.json()["id"] for answer in answers} if not stream else None
        assert ids is None or len(ids) == 100


@pytest.mark.req("GTW-05")
async def test_streams_that_run_side_by_side_do_not_mix(make_agent: MakeAgent) -> None:
    """Every answer repeats its own question, slowly enough for all of them to be under way together."""

    async def echo(exchange: Exchange) -> None:
        asked = orjson.loads(exchange.body)["messages"][-1]["content"]
        await exchange.head(200, EVENT_STREAM)
        for _ in range(10):
            await exchange.chunk(sse(chunk(**SHARED, delta={"content": asked})))
            await exchange.pause(0.005)
        await exchange.chunk(sse(chunk(**SHARED, delta={}, finish_reason="stop")))
        await exchange.chunk(b"")

    async with make_agent(max_concurrent_agents=20) as agent:
        await agent.behaves(echo)
        asked = [f"Story {number}." for number in range(20)]
        heard = await asyncio.gather(*(agent.ask(one, stream=True) for one in asked))
        assert [streamed(one) for one in heard] == [one * 10 for one in asked]


async def test_the_turn_beyond_those_that_run_and_wait_is_told_to_come_back(make_agent: MakeAgent) -> None:
    async with make_agent(max_concurrent_agents=1, max_waiting_turns=1) as agent:
        silence = Silence()
        await agent.behaves(silence)
        running = asyncio.create_task(agent.ask("Tell me a story."))
        await within(5, silence.asked.wait())
        waiting = asyncio.create_task(agent.ask("what is 1 + 1"))
        refused = await soon_refused(agent)
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert not waiting.done()
        running.cancel()
        assert whole(await within(5, waiting)) == "2"
        assert whole(await agent.ask("what is 2 + 2")) == "4"


async def soon_refused(agent: RunningAgent) -> httpx.Response:
    """Ask until the one who waits has arrived, so that a third is refused."""
    async with asyncio.timeout(5):
        while True:
            asking = asyncio.create_task(agent.ask("what is 3 + 3"))
            done, _ = await asyncio.wait({asking}, timeout=0.2)
            if done and asking.result().status_code == 429:
                return asking.result()
            asking.cancel()
            await asyncio.wait({asking})


async def test_a_turn_that_finds_no_place_in_time_is_told_to_come_back(make_agent: MakeAgent) -> None:
    async with make_agent(max_concurrent_agents=1, default_timeout_seconds=0.3) as agent:
        await agent.behaves(Silence())
        asked = [agent.ask("Tell me a story.") for _ in range(3)]
        answers = await within(5, asyncio.gather(*asked))
        # The second one's place becomes free at the very end of its patience, so it may go either way.
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses[::2] == [503, 504]
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert refused.json()["error"]["code"] == "too_many_turns"
        assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.req("GTW-08")
@pytest.mark.parametrize("stream", [False, True])
async def test_turns_past_the_time_limit_are_504_and_leave_nothing_behind(
    make_agent: MakeAgent, stream: bool
) -> None:
    async with make_agent(max_concurrent_agents=2, max_waiting_turns=0, default_timeout_seconds=0.9) as agent:
        for _ in range(2):
            silence = Silence()
            await agent.behaves(silence)
            answers = await asyncio.gather(*(agent.ask("Tell me a story.", stream=stream) for _ in range(2)))
            assert [answer.status_code for answer in answers] == [504, 504]
            await within(5, silence.left.wait())
        assert "turn" not in task_names()
        answers = await asyncio.gather(*(agent.ask("what is 1 + 1") for _ in range(2)))
        assert [whole(answer) for answer in answers] == ["2", "2"]


async def test_failures_leave_nothing_behind(make_agent: MakeAgent) -> None:
    async with make_agent(max_concurrent_agents=1, max_waiting_turns=0) as agent:
        for stream in (False, True, False, True):
            assert (await agent.ask("Tell me a story.", stream=stream)).status_code == 503
            assert (await agent.ask("1 + 1", stream=stream, tools=[{}])).status_code == 400
        assert whole(await agent.ask("what is 1 + 1")) == "2"


async def test_turns_end_with_the_agent(make_agent: MakeAgent) -> None:
    async with make_agent() as agent:
        silence = Silence()
        await agent.behaves(silence)
        accepted = await agent.client.post("/api/messages", json={"text": "Tell me a story."})
        assert accepted.status_code == 202
        await within(5, silence.asked.wait())
        assert {"turn", "message"} <= task_names()
    assert not {"turn", "message"} & task_names()


def task_names() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks()}
