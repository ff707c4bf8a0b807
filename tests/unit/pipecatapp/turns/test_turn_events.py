"""What happens in a turn reaches everybody who follows it, and nobody who follows can hold it up."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from clusterkit.errors import HearthError
from clusterkit.http.openai_wire import chunk, sse
from clusterkit.http.principal import LOCAL_PERSON
from clusterkit.testing import ScriptedAnswer
from pipecatapp.runs.events import Chunk, NodeFinished, NodeSkipped, NodeStarted, Restarted, ToolCalled
from pipecatapp.settings import PipecatappSettings
from pipecatapp.turns.events import (
    BACKLOG,
    Missed,
    Subscription,
    TurnAnswered,
    TurnEvent,
    TurnFailed,
)
from pipecatapp.turns.turns import RunningTurn, Turn
from tests.servers.agent import WORKFLOWS, RunningAgent, Silence, running_agent, within

SUM = ScriptedAnswer(tool_calls=[{"name": "calculator", "arguments": {"expression": "6*7"}}])
ANSWER = ScriptedAnswer(text="That makes 42 tiles.")


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[RunningAgent]:
    async with running_agent(PipecatappSettings(home=tmp_path, workflows_dir=WORKFLOWS)) as running:
        await running.announce_expert(model="big", tools="native")
        yield running


async def all_of(events: Subscription) -> list[TurnEvent]:
    return [event async for event in events]


def position(events: Sequence[TurnEvent], kind: type, path: str) -> int:
    """Where the first event of a kind about a node stands."""
    return next(
        number
        for number, event in enumerate(events)
        if isinstance(event, kind) and getattr(event, "path", None) == path
    )


async def test_nodes_and_tools_are_seen_in_order_while_the_text_streams_by_every_subscriber(
    agent: RunningAgent,
) -> None:
    await agent.says(SUM, ANSWER)
    async with agent.agent.turns.run(Turn("How many tiles?"), principal=LOCAL_PERSON) as running:
        one, other, text = running.subscribe(), running.subscribe(), running.pieces()
        events, same, pieces = await within(5, asyncio.gather(all_of(one), all_of(other), _listed(text)))
    assert events == same
    order = [
        position(events, kind, path)
        for kind, path in [
            (NodeStarted, "intent"),
            (NodeFinished, "intent"),
            (NodeSkipped, "direct"),
            (NodeStarted, "think"),
            (NodeStarted, "think[0].ask"),
            (NodeFinished, "think[0].ask"),
            (NodeStarted, "think[0].act[0].call"),
            (ToolCalled, "think[0].act[0].call"),
            (NodeFinished, "think[0].act[0].call"),
            (NodeStarted, "think[1].ask"),
            (Chunk, "say"),
            (NodeFinished, "think[1].ask"),
            (NodeFinished, "say"),
        ]
    ]
    assert order == sorted(order)
    assert ToolCalled("think[0].act[0].call", "calculator", True) in events
    said = [event.text for event in events if isinstance(event, Chunk)]
    assert said == pieces
    assert "".join(said) == ANSWER.text
    assert len(said) > 1
    assert isinstance(events[-1], TurnAnswered)
    assert events[-1].result is running.result
    assert running.result.usage.tokens_in > 0


@pytest.mark.req("WFE-07")
@pytest.mark.parametrize(
    "answers", [[ANSWER], [SUM.model_copy(update={"text": "Let me see."}), SUM, ANSWER]], ids=len
)
async def test_a_turn_ends_with_the_first_answer_that_asks_for_no_tool(
    agent: RunningAgent, answers: list[ScriptedAnswer]
) -> None:
    await agent.says(*answers, ScriptedAnswer(text="Nobody asked for this."))
    async with agent.agent.turns.run(Turn("How many tiles?"), principal=LOCAL_PERSON) as running:
        events = await within(5, all_of(running.subscribe()))
        assert running.result.outputs == {"reply": ANSWER.text}
    asked = [event.path for event in events if isinstance(event, NodeStarted) and event.type == "llm"]
    assert asked == [f"think[{number}].ask" for number in range(len(answers))]


async def _listed(pieces: AsyncIterator[str]) -> list[str]:
    return [piece async for piece in pieces]


async def test_the_first_words_are_there_while_the_model_still_writes(agent: RunningAgent) -> None:
    begun = sse(
        chunk(id="c", model="m", created=0, delta={"content": "Once upon a time there was a hearth. " * 3})
    )
    await agent.behaves(Silence([begun]))
    async with agent.agent.turns.run(Turn("Tell me a story."), principal=LOCAL_PERSON) as running:
        async for event in running.subscribe():
            if isinstance(event, Chunk):
                assert event.text.startswith("Once upon")
                break
        else:
            pytest.fail("no text came")


async def test_a_turn_that_fails_says_so_to_every_subscriber(agent: RunningAgent) -> None:
    await agent.says(ScriptedAnswer(status=400))
    async with agent.agent.turns.run(Turn("Tell me a story."), principal=LOCAL_PERSON) as running:
        one, text = running.subscribe(), running.pieces()
        events = await within(5, all_of(one))
        with pytest.raises(HearthError) as raised:
            await anext(text)
    assert isinstance(events[-1], TurnFailed)
    assert events[-1].error is raised.value


async def test_who_comes_after_the_end_sees_the_end(agent: RunningAgent) -> None:
    async with agent.agent.turns.run(Turn("what is 6 * 7"), principal=LOCAL_PERSON) as running:
        await within(5, all_of(running.subscribe()))
        (end,) = await within(5, all_of(running.subscribe()))
    assert isinstance(end, TurnAnswered)


async def test_a_subscriber_that_does_not_read_neither_holds_up_a_turn_nor_grows_without_bound() -> None:
    running = RunningTurn("r1")
    idle, quick = running.subscribe(), running.subscribe()
    reading = asyncio.create_task(all_of(quick))
    for number in range(20 * BACKLOG):
        running.on_event(NodeStarted(f"n{number}", "work", 1))
        running.on_event(Chunk("say", "word "))
        running.on_event(ToolCalled(f"n{number}", "clock", True))
        if number % 10 == 0:
            await asyncio.sleep(0)  # the quick one reads
    running.finish(TurnFailed(HearthError("the end")))
    assert idle.waiting <= BACKLOG + 3
    assert len(await within(5, reading)) == 3 * 20 * BACKLOG + 1


async def test_a_slow_subscriber_loses_no_text_and_is_told_how_much_else_it_missed() -> None:
    running = RunningTurn("r1")
    slow = running.subscribe()
    for number in range(BACKLOG):
        running.on_event(NodeStarted(f"n{number}", "work", 1))
    for piece in ("Once ", "upon ", "a time"):
        running.on_event(Chunk("say", piece))
        running.on_event(ToolCalled("n1", "clock", True))
    running.on_event(Restarted("say"))
    running.on_event(Chunk("say", "No."))
    *kept, text, restart, other = [await anext(slow) for _ in range(BACKLOG + 3)]
    assert kept == [NodeStarted(f"n{number}", "work", 1) for number in range(BACKLOG)]
    assert (text, restart, other) == (Chunk("say", "Once upon a time"), Restarted("say"), Chunk("say", "No."))
    assert await anext(slow) == Missed(3)
    running.on_event(NodeStarted("later", "work", 1))
    assert await anext(slow) == NodeStarted("later", "work", 1)


async def test_what_a_subscriber_missed_is_told_before_the_end() -> None:
    running = RunningTurn("r1")
    slow = running.subscribe()
    for number in range(BACKLOG + 2):
        running.on_event(NodeSkipped(f"n{number}", "work"))
    end = TurnFailed(HearthError("the end"))
    running.finish(end)
    assert (await all_of(slow))[-2:] == [Missed(2), end]


async def test_texts_of_two_nodes_are_not_joined() -> None:
    running = RunningTurn("r1")
    slow = running.subscribe()
    for number in range(BACKLOG):
        running.on_event(NodeSkipped(f"n{number}", "work"))
    for path in ("one", "one", "two", "one"):
        running.on_event(Chunk(path, path))
    running.finish(TurnFailed(HearthError("the end")))
    assert (await all_of(slow))[BACKLOG:-1] == [
        Chunk("one", "oneone"), Chunk("two", "two"), Chunk("one", "one")
    ]  # fmt: skip
