"""The shipped workflows, run: scripted models in memory, and once through the real client and HTTP."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from clusterkit.llm.openai_models import OpenAiModels
from clusterkit.testing import scripted_llm
from pipecatapp.runs.events import Chunk, Restarted
from pipecatapp.runs.library import UnknownWorkflowError, WorkflowLibrary
from pipecatapp.runs.records import RunFailedError

SHIPPED = Path(__file__).parents[4] / "workflows"
NAMES = sorted(file.stem for file in SHIPPED.glob("*.yaml"))
TOOLS = ["clock", "calculator", "broken"]


@pytest.fixture
def library(kit):
    return WorkflowLibrary(SHIPPED, kit.nodes.specs)


@pytest.fixture
def ask(kit, library):
    async def ask(text, *replies, tools=TOOLS, **more):
        kit.models.replies = list(replies)
        inputs = {"text": text, "tools": tools, **more}
        return await kit.run_graph(library.load("default_agent_loop"), inputs)

    return ask


def spoken(kit):
    """What a listener that honours restarts has in the end, and the pieces it came in."""
    pieces: list[str] = []
    for event in kit.heard:
        if isinstance(event, Restarted):
            pieces.clear()
        elif isinstance(event, Chunk):
            pieces.append(event.text)
    return pieces


@pytest.mark.req("WFE-01")
@pytest.mark.parametrize("name", NAMES)
async def test_every_shipped_workflow_loads_and_runs(kit, library, script, name):
    kit.models.replies = [script("a short| answer")]
    result = await kit.run_graph(library.load(name), {"text": "Tell me about the sea."})
    assert list(result.outputs.values()) == ["a short answer"]


def test_there_is_more_than_one_shipped_workflow():
    assert {"default_agent_loop", "summarize"} <= set(NAMES)


@pytest.mark.parametrize("name", ["nope", "../secrets", "Default_agent_loop", ""])
def test_an_unknown_workflow_is_refused(library, name):
    with pytest.raises(UnknownWorkflowError, match="there is no workflow"):
        library.load(name)


def test_a_file_whose_name_is_not_its_workflows_name_is_refused(tmp_path, kit):
    (tmp_path / "other.yaml").write_text((SHIPPED / "summarize.yaml").read_text())
    with pytest.raises(Exception, match="the name must be 'other'"):
        WorkflowLibrary(tmp_path, kit.nodes.specs).load("other")


def test_an_edited_file_counts_from_the_next_time_it_is_asked_for(tmp_path, kit):
    file = tmp_path / "summarize.yaml"
    file.write_text((SHIPPED / "summarize.yaml").read_text())
    library = WorkflowLibrary(tmp_path, kit.nodes.specs)
    assert library.load("summarize") is library.load("summarize")
    file.write_text(file.read_text().replace("A short summary", "A very short summary"))
    assert library.load("summarize").description == "A very short summary of a text."


@pytest.mark.req("WFE-02")
async def test_a_question_that_needs_a_tool_goes_to_the_model_the_tool_and_the_model_again(make_kit, library):
    turns: list[Mapping[str, Any]] = [
        {"tool_calls": [{"name": "calculator", "arguments": {"expression": "12345 * 6789"}}]},
        {"text": "That makes 83810205 tiles."},
    ]
    question = "I need 12345 rows of 6789 tiles. How many tiles is that?"
    with scripted_llm(turns) as llm:
        async with AsyncOpenAI(base_url=f"{llm.url}/v1", api_key="none") as client:

            async def connect():
                return client

            kit = make_kit(models=OpenAiModels(connect))
            graph = library.load("default_agent_loop")
            result = await kit.run_graph(graph, {"text": question, "tools": TOOLS})
        first, second = (request["body"] for request in llm.requests())
    assert result.outputs == {"reply": "That makes 83810205 tiles."}
    (call,) = result.tool_calls
    assert (call.path, call.tool, call.arguments) == (
        "think[0].act[0].call", "calculator", {"expression": "12345 * 6789"}
    )  # fmt: skip
    assert (call.succeeded, call.text) == (True, "83810205")
    assert first["messages"][-1] == {"role": "user", "content": question}
    assert [tool["function"]["name"] for tool in first["tools"]] == TOOLS
    assert [message["role"] for message in second["messages"]] == ["system", "user", "assistant", "tool"]
    assert second["messages"][2]["tool_calls"][0]["id"] == second["messages"][3]["tool_call_id"]
    assert second["messages"][3]["content"] == "83810205"
    assert "".join(spoken(kit)) == "That makes 83810205 tiles."
    assert len(spoken(kit)) > 1
    kinds = [event.action_type for event in await kit.events() if event.action_type != "plan_step_execution"]
    assert kinds == ["llm_inference", "tool_call", "llm_inference"]


@pytest.mark.parametrize(
    ("text", "tool", "reply"),
    [
        ("what is 17 * 23", "calculator", "391"),
        ("What's 17 times 23?", "calculator", "391"),
        ("What\u2019s 17 \u00d7 23?", "calculator", "391"),
        ("17 x 23", "calculator", "391"),
        ("2+2", "calculator", "4"),
        ("hey, how much is (1,000 - 0.5) / 2 please?", "calculator", "499.75"),
        ("calculate 2 ^ 10 =", "calculator", "1024"),
        ("what is -3 minus -5", "calculator", "2"),
        ("what is 12% of 340", "calculator", "40.8"),
        ("What is 19.99 + 0.01?", "calculator", "20"),
        ("what's seventeen times twenty-three", "calculator", "391"),
        ("turn 3 cups into ml", "convert", "3 cups is about 709.765 ml."),
        ("What is 72°F in Celsius?", "convert", "72°F is about 22.2222 °C."),
        ("how many feet are in a mile", "convert", "a mile is 5280 feet."),
        ("what is 1/0?", "calculator", "I cannot work that out: division by zero has no result"),
    ],
)
async def test_plain_arithmetic_is_answered_exactly_without_a_model(ask, text, tool, reply):
    result = await ask(text)
    assert result.outputs == {"reply": reply}
    assert [call.tool for call in result.tool_calls] == [tool]


@pytest.mark.parametrize(
    "text",
    ["what time is it", "What time is it?", "what's the date", "What is the time now?", 
     "what day is it today?", "Can you tell me what time it is?", "what's today's date", "time"],
)  # fmt: skip
async def test_the_time_is_told_without_a_model(ask, text):
    result = await ask(text)
    assert result.outputs["reply"].startswith("It is ")
    assert [call.tool for call in result.tool_calls] == ["clock"]


@pytest.mark.parametrize(
    "text",
    [
        "system status",
        "Status?",
        "show me the status",
        "what is the cluster status?",
        "how is the cluster doing",
        "Are all services healthy?",
    ],
)
async def test_the_status_of_the_system_is_asked_of_its_tool(ask, text):
    result = await ask(text)
    assert result.outputs["reply"].startswith("0 of 0 services are healthy.")
    assert [call.tool for call in result.tool_calls] == ["system_status"]


@pytest.mark.parametrize(
    "text",
    ["What is the capital of France?", "What is 42?", "what is the time complexity of quicksort",
     "what time is it in the story", "What is 9/11?", "what is 2024-11-21",
     "What is the status of women in 1900?",
     "what is love in French", "how many people are in China",
     "time flies", "Who won 3 to 2?", "what is love", "what is 3D printing", "2 apples", "what's 24/7",
     "17 times", "status quo", "What is the date of the French revolution?", "1" * 501 + "+1", ""],
)  # fmt: skip
async def test_other_questions_go_to_the_model(ask, script, text):
    result = await ask(text, script("model"))
    assert result.outputs == {"reply": "model"}
    assert result.tool_calls == ()


@pytest.mark.timeout(10)  # a pattern that tries every way to split a text would not come back at all
@pytest.mark.parametrize(
    "piece",
    [
        "1 + ",
        "1+",
        "1- ",
        "1,",
        "1)",
        "1 - - ",
        "1+((((",
        "(",
        "-",
        " ",
        "1",
        "what is the ",
        "please ",
        "1 -  1",
    ],
)
async def test_no_text_keeps_the_patterns_busy(ask, script, piece):
    for end in ("", "a", "?", "1 x"):
        await ask((piece * 500)[:490] + end, script("model"))


async def test_the_conversation_so_far_is_sent_along(ask, kit, script):
    history = [{"role": "user", "content": "I am Ada."}, {"role": "assistant", "content": "Hello Ada."}]
    await ask("Who am I?", script("Ada."), history=history)
    assert [message["role"] for message in kit.models.asked[0].messages] == [
        "system",
        "user",
        "assistant",
        "user",
    ]


async def test_a_model_that_cannot_call_tools_is_offered_none(ask, kit, script):
    await ask("Who was Ada?", script("A countess."), tools=[])
    assert kit.models.asked[0].tools == []


async def test_the_answer_streams_piece_by_piece_while_it_is_written(ask, kit, script):
    await ask("Tell me a story.", script("Once| upon| a time"), tools=[])
    assert spoken(kit) == ["Once", " upon", " a time"]


async def test_the_first_words_are_heard_before_the_last_are_written(kit, library, script):
    kit.models.replies, kit.models.hang_after = [script("Once| upon| a time")], 2
    graph = library.load("default_agent_loop")
    running = asyncio.create_task(kit.run_graph(graph, {"text": "Tell me a story.", "tools": []}))
    await kit.models.hanging.wait()
    assert spoken(kit) == ["Once", " upon"]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_text_of_a_tool_round_is_not_heard(ask, kit, script):
    calls = ("calculator", '{"expression": "1+1"}')
    result = await ask("Well?", script("Let me| see.", calls), script("It is| 2."))
    assert result.outputs == {"reply": "It is 2."}
    assert spoken(kit) == ["It is", " 2."]
    assert not [event for event in kit.heard if isinstance(event, Restarted)]


async def test_a_long_text_before_a_tool_call_is_taken_back(ask, kit, script):
    calls = ("calculator", '{"expression": "1+1"}')
    await ask("Well?", script("word |" * 100, calls), script("It is| 2."))
    assert [event for event in kit.heard if isinstance(event, Restarted)] == [Restarted("say")]
    assert spoken(kit) == ["It is", " 2."]


async def test_several_tool_calls_of_one_answer_all_come_back_in_order(ask, kit, script):
    wanted = [("calculator", json.dumps({"expression": f"{n}+1"})) for n in range(3)]
    await ask("Well?", script("", *wanted), script("done"))
    results = kit.models.asked[1].messages[-3:]
    assert [(result["tool_call_id"], result["content"]) for result in results] == [
        ("c0", "1"),
        ("c1", "2"),
        ("c2", "3"),
    ]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (("broken", "{}"), "The tool failed: it is broken"),
        (("calculator", "{not json"), "must be a JSON object"),
        (("calculator", '{"expression": "a"}'), "The tool failed: "),
        (("rm_rf", "{}"), "is not offered here (offered: clock, calculator, broken)"),
        (("writer", "{}"), "is not offered here"),
    ],
)
async def test_the_model_is_told_when_a_tool_fails_and_may_answer(ask, kit, script, call, told):
    result = await ask("Well?", script("", call), script("Sorry."))
    assert result.outputs == {"reply": "Sorry."}
    assert told in kit.models.asked[1].messages[-1]["content"]
    assert result.nodes["think[0].act[0].call"].status == "failed"


@pytest.mark.req("WFE-07")
async def test_a_model_that_never_stops_calling_tools_is_stopped(ask, kit, script):
    calls = ("calculator", '{"expression": "1+1"}')
    with pytest.raises(RunFailedError, match="loop 'think' was not done after 6 rounds") as caught:
        await ask("Well?", *[script("", calls)] * 9)
    assert caught.value.code == "loop_exhausted"
    assert len(kit.models.asked) == 6


@pytest.mark.parametrize(
    "pieces",
    ["<think>Two?</think>It is| 2.", "<th|ink>Two|?</thi|nk>\n\nIt is| 2.", "It is| 2.<think>Or| is it"],
)
async def test_what_the_model_thinks_is_neither_heard_nor_kept(ask, kit, script, pieces):
    result = await ask("Well?", script(pieces), tools=[])
    assert result.outputs == {"reply": "It is 2."}
    assert "".join(spoken(kit)) == "It is 2."
    assert result.nodes["think[0].ask"].outputs["message"]["content"] == "It is 2."
    assert "Two" not in str(await kit.events())


async def test_what_the_model_thinks_before_a_tool_call_is_not_sent_back_to_it(ask, kit, script):
    calls = ("calculator", '{"expression": "1+1"}')
    await ask("Well?", script("<think>I| will add|</think>", calls), script("It is 2."))
    assert kit.models.asked[1].messages[2]["content"] == ""


async def test_a_model_that_only_thinks_gives_no_answer_and_that_is_said(ask, kit, script):
    with pytest.raises(RunFailedError, match="thought about it and came to no answer"):
        await ask("Well?", script("<think>Two, or| three"), tools=[])
    assert spoken(kit) == []


async def test_a_toy_of_a_model_is_told_as_little_as_possible(ask, kit, script):
    await ask("Well?", script("Yes."), built_in_model=True)
    assert kit.models.asked[0].messages[0]["content"] == "You are a helpful assistant."


async def test_the_model_is_told_who_it_is_what_day_it_is_and_what_it_can_do(ask, kit, script):
    about = {
        "household": "the Millers",
        "today": "Friday, 27 March 2026 (Europe/Berlin)",
        "abilities": "set timers",
    }
    await ask("Well?", script("Yes."), **about)
    prompt = kit.models.asked[0].messages[0]["content"]
    assert prompt.startswith("You are Hearth, the private assistant of the Millers.")
    assert "Today is Friday, 27 March 2026 (Europe/Berlin). You can set timers" in prompt
