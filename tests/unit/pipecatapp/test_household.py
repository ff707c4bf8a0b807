"""What a household says to its agent, and what comes of it: exact commands through the wired agent."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clusterkit.testing import ScriptedAnswer
from pipecatapp.settings import PipecatappSettings
from tests.servers.agent import WORKFLOWS, RunningAgent, running_agent

MODEL = "This is for the model."


def settings(home: Path) -> PipecatappSettings:
    return PipecatappSettings(
        home=home, workflows_dir=WORKFLOWS, household="the Millers", time_zone="Europe/Berlin"
    )


async def said(agent: RunningAgent, text: str) -> tuple[str, list[str]]:
    """The answer, and the tools that it came from."""
    answer = await agent.ask(text)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return body["choices"][0]["message"]["content"], body["hearth"]["tools"]


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[RunningAgent]:
    async with running_agent(settings(tmp_path)) as made:
        await made.says(*[ScriptedAnswer(text=MODEL)] * 50)
        yield made


async def test_a_fact_is_kept_found_again_after_a_restart_and_forgotten(tmp_path: Path) -> None:
    async with running_agent(settings(tmp_path)) as agent:
        assert await said(agent, "Remember that the wifi password is on the fridge.") == (
            "I will remember that the wifi password is on the fridge.", ["remember"]
        )  # fmt: skip
    async with running_agent(settings(tmp_path)) as agent:
        told = ("The wifi password is on the fridge.", ["recall"])
        assert await said(agent, "where is my wifi password?") == told
        assert await said(agent, "Forget the wifi password") == (
            "I have forgotten that the wifi password is on the fridge.", ["forget"]
        )  # fmt: skip
        reply, _ = await said(agent, "Where is my wifi password?")
        assert reply == "I have not been told anything about wifi password."


@pytest.mark.parametrize(
    ("text", "begins", "tool"),
    [
        ("who are you", "I am Hearth, the assistant of the Millers.", "introduction"),
        ("What can you do?", "I am Hearth", "introduction"),
        ("set a timer for twelve minutes", "A timer of 12 minutes is running; it rings at ", "set_timer"),
        ("Set a five minute timer, please", "A timer of 5 minutes is running", "set_timer"),
        ("start a pizza timer for an hour and a half", "A timer of 1 hour, 30 minutes (pizza)", "set_timer"),
        ("what timers are running?", "No timer is running", "list_timers"),
        ("remind me to call mum tomorrow at half past seven",
         "I will remind you at 07:30 tomorrow: call mum.", "set_reminder"),
        ("wake me up at 7am", "I will remind you at 07:00", "set_reminder"),
        ("Add milk and eggs to the shopping list", "Milk and eggs are on the shopping list now.", "list_add"),
        ("what's on my shopping list?", "The shopping list is empty.", "list_show"),
        ("make a note: call the plumber", "Noted: call the plumber", "add_note"),
        ("show my notes", "There are no notes.", "list_notes"),
        ("how is the cluster doing", "1 of 1 services are healthy.", "system_status"),
        ("turn 3 cups into ml", "3 cups is about 709.765 ml.", "convert"),
        ("what is 12% of 340", "40.8", "calculator"),
        ("What time is it in Tokyo?", "It is ", "clock"),
    ],
)  # fmt: skip
async def test_an_exact_command_is_carried_out_without_a_model(
    agent: RunningAgent, text: str, begins: str, tool: str
) -> None:
    reply, tools = await said(agent, text)
    assert reply.startswith(begins)
    assert tools == [tool]


QUESTIONS = [
    "is milk on the shopping list?", "should I add milk to the shopping list?",
    "did you set a timer for five minutes?", "how do I set a timer for ten minutes?",
    "what timers are running?", "is the timer running?", "what is on my shopping list",
    "when does the timer ring?", "do you remember that the key is under the mat?", "where is my key?",
    "what do you remember?", "what are my notes?", "could I cancel the timer?",
    "who cancelled the timer?", "do I have any reminders?", "why is my note gone?", "what is a timer?",
    "have you forgotten the wifi password?", "shall I remember the wifi password?",
    "what did I tell you about tea?",
]  # fmt: skip
GARBLED = [
    "set a tmer for five minutes", "set timer a five for", "remind at to", "cancel the tiemr",
    "ad milk to the list", "remember", "forget", "add to the shopping list", "set a timer", "timer",
    "remind me", "note", "make a note", "wake me", "remember that", "set an alarm", "take off the list",
    "delete the note", "cancel", "timer for for minutes",
]  # fmt: skip


async def test_questions_about_a_state_do_not_change_it(agent: RunningAgent) -> None:
    for text in QUESTIONS:
        await said(agent, text)
    await nothing_changed(agent)


async def test_garbled_commands_are_carried_out_in_no_way_and_no_tool_claims_they_were(
    agent: RunningAgent,
) -> None:
    for text in GARBLED:
        reply, tools = await said(agent, text)
        assert tools == [], text
        assert reply == MODEL or reply.startswith("I cannot"), text
    await nothing_changed(agent)


async def nothing_changed(agent: RunningAgent) -> None:
    assert (await said(agent, "what timers are running?"))[
        0
    ] == "No timer is running, and no reminder is set."
    assert (await said(agent, "what's on my shopping list?"))[0] == "The shopping list is empty."
    assert (await said(agent, "show my notes"))[0] == "There are no notes."
    assert (await said(agent, "what do you remember?"))[0] == "I have not been told anything."


async def test_a_command_that_cannot_be_carried_out_says_so(agent: RunningAgent) -> None:
    reply, tools = await said(agent, "Set a timer for bananas")
    assert reply.startswith("I cannot work that out: I do not understand how long 'bananas' is")
    assert reply.endswith("No timer was set")
    assert tools == []


async def test_a_timer_rings_on_the_chat_page_on_time(agent: RunningAgent) -> None:
    async with agent.client.stream("GET", "/api/spoken") as spoken:
        lines = spoken.aiter_lines()
        assert await anext(lines) == ": listening"
        await said(agent, "set a timer for 1 second")
        heard = [line async for line in _two(lines)]
    assert heard == ['data: {"text":"Your timer of 1 second is over."}']


async def _two(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    async for line in lines:
        if line:
            yield line
            return


async def test_the_model_is_told_of_the_household_and_keeps_its_instructions_in_a_long_chat(
    tmp_path: Path,
) -> None:
    turn = [{"role": "user", "content": "x" * 900}, {"role": "assistant", "content": "y" * 900}]
    asked = [*turn * 20, {"role": "user", "content": "Tell me of the sea."}]
    async with running_agent(settings(tmp_path)) as agent:
        await agent.says(ScriptedAnswer(text=MODEL))
        await agent.announce_expert(model="small", context="2048")
        answer = await agent.client.post("/v1/chat/completions", json={"model": "hearth", "messages": asked})
        (gateway,) = await agent.registry.instances(agent.settings.gateway_service)
        script = await agent.client.get(f"http://127.0.0.1:{gateway.port}/script/requests")
    assert answer.status_code == 200, answer.text
    (request,) = script.json()
    system, *rest = request["body"]["messages"]
    assert "the Millers" in system["content"]
    assert "(Europe/Berlin)" in system["content"]
    assert [message["role"] for message in rest] == ["user", "assistant", "user"]
    assert sum(len(message["content"]) for message in [system, *rest]) < 2048 * 4
