"""Workflows as a person has them: files in a folder, carried out by the wired agent."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from textwrap import dedent
from typing import Any

import httpx
import pytest

from clusterkit.http.principal import LOCAL_PERSON
from clusterkit.testing import ScriptedAnswer
from pipecatapp.runs.records import RunFailedError, RunResult
from pipecatapp.settings import PipecatappSettings
from pipecatapp.turns.turns import Turn
from tests.servers.agent import WORKFLOWS, RunningAgent, Silence, running_agent, soon, within

MakeAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]
SHIPPED = sorted(file.stem for file in WORKFLOWS.glob("*.yaml"))
SUM = ScriptedAnswer(tool_calls=[{"name": "calculator", "arguments": {"expression": "12345 * 6789"}}])
QUESTION = "I need 12345 rows of 6789 tiles. How many tiles is that?"
ANSWER = ScriptedAnswer(text="That makes 83810205 tiles.")
SHOUT = '''
"""A node type of a person's own."""
from pydantic import Field
from pipecatapp.nodes.base import Node, NodeConfig


class ShoutConfig(NodeConfig):
    text: str = Field(description="What to shout.")


class ShoutNode(Node[ShoutConfig]):
    """Says it louder."""

    type = "shout"
    Config = ShoutConfig
    outputs = {"loud": "text"}

    async def run(self, config, context):
        return {"loud": config.text.upper() + "!"}
'''


@pytest.fixture
def make_agent(tmp_path: Path) -> MakeAgent:
    """Runs an agent with a workflow of its own, `nodes` or a whole file, and further settings."""

    def make(nodes: str = "", file: str = "", **more: Any) -> AbstractAsyncContextManager[RunningAgent]:
        if nodes:
            indented = "".join(f"  {line}\n" for line in dedent(nodes).strip().splitlines())
            head = "schema: 1\nname: own\ninputs: {text: {type: text}}\noutputs: {reply: '${{ say.text }}'}\n"
            file = f"{head}nodes:\n{indented}"
        if file:
            name = more.setdefault("workflow", "own")
            more["workflows_dir"] = tmp_path / "flows"
            more["workflows_dir"].mkdir()
            (more["workflows_dir"] / f"{name}.yaml").write_text(file)
        settings = {"home": tmp_path / "home", "workflows_dir": WORKFLOWS, **more}
        return running_agent(PipecatappSettings(**settings))

    return make


async def carried_out(agent: RunningAgent, text: str = "Tell me a story.") -> RunResult:
    """The run that answers `text`, or that fails at it."""
    async with agent.agent.turns.run(Turn(text), principal=LOCAL_PERSON) as running:
        try:
            async for _ in running.pieces():
                pass
        except RunFailedError as error:
            return error.result
        return running.result


async def requests(agent: RunningAgent) -> list[Any]:
    """What the scripted model was asked, in order."""
    (gateway,) = await agent.registry.instances(agent.settings.gateway_service)
    async with httpx.AsyncClient() as client:
        asked = (await client.get(f"http://127.0.0.1:{gateway.port}/script/requests")).json()
    return [one["body"] for one in asked]


async def outcomes(agent: RunningAgent, action_type: str, count: int) -> list[Any]:
    """The outcomes of so many actions of one kind, in the log of actions."""
    for _ in range(1000):
        answer = await agent.client.get("/api/events", params={"action_type": action_type, "limit": 1000})
        rows = [row for row in answer.json()["events"] if row["phase"] == "outcome"]
        if len(rows) >= count:
            return rows
    raise AssertionError(f"there are not {count} outcomes")


def said(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


def refused(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


def statuses(result: RunResult) -> Mapping[str, str]:
    return {path: record.status.value for path, record in result.nodes.items()}


@pytest.mark.req("WFE-01")
@pytest.mark.parametrize("name", SHIPPED)
async def test_the_agent_carries_out_every_shipped_workflow(make_agent: MakeAgent, name: str) -> None:
    async with make_agent(workflow=name) as agent:
        await agent.says(ScriptedAnswer(text="A short answer."))
        assert said(await agent.ask("Tell me about the sea.")) == "A short answer."
        result = await carried_out(agent, "Tell me about the sea.")
        assert (result.workflow, result.status) == (name, "succeeded")
        assert list(result.outputs.values()) == ["A short answer."]
        (first, second) = await requests(agent)
    assert first == second
    assert first["messages"][-1] == {"role": "user", "content": "Tell me about the sea."}


@pytest.mark.req("WFE-01")
@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ("type: llm\n", "type: lln\n", "unknown node type 'lln'"),
        ("${{ say.text }}", "${{ say.txt }}", "there is no output of 'say' named 'txt'"),
        ("temperature: 0", "temperature: 9", "less than or equal to 2"),
    ],
)
async def test_a_slip_in_a_shipped_workflow_is_told_with_its_place(
    make_agent: MakeAgent, name: str, right: str, wrong: str, problem: str
) -> None:
    text = (WORKFLOWS / f"{name}.yaml").read_text()
    before, _, _ = text.partition(right)
    async with make_agent(file=text.replace(right, wrong), workflow=name) as agent:
        _, code, message = refused(await agent.ask("Tell me about the sea."))
    assert code == "invalid_config_file"
    assert f"{name}.yaml:{before.count(chr(10)) + 1}:" in message
    assert problem in message


@pytest.mark.req("WFE-02", "WFE-07")
async def test_a_question_that_needs_a_tool_goes_from_the_model_to_the_tool_and_back(
    make_agent: MakeAgent,
) -> None:
    async with make_agent() as agent:
        await agent.announce_expert(model="big", tools="native")
        await agent.says(SUM, ANSWER, ScriptedAnswer(text="Nobody asked for this."))
        answer = await agent.ask(QUESTION)
        first, second = await requests(agent)
        (call,) = await outcomes(agent, "tool_call", 1)
        models = await outcomes(agent, "llm_inference", 2)
    assert said(answer) == "That makes 83810205 tiles."
    assert answer.json()["hearth"]["tools"] == ["calculator"]
    assert first["messages"][-1] == {"role": "user", "content": QUESTION}
    assert "calculator" in [tool["function"]["name"] for tool in first["tools"]]
    assert second["messages"][: len(first["messages"])] == first["messages"]
    request, result = second["messages"][len(first["messages"]) :]
    assert [one["function"]["name"] for one in request["tool_calls"]] == ["calculator"]
    assert result == {
        "role": "tool", "tool_call_id": request["tool_calls"][0]["id"], "content": "83810205"
    }  # fmt: skip
    assert (call["tool_name"], call["tool_parameters"]) == ("calculator", {"expression": "12345 * 6789"})
    assert (call["status"], call["context_snapshot"]["entities"][0]) == (
        "success", "default_agent_loop#think[0].act[0].call"
    )  # fmt: skip
    assert [one["context_snapshot"]["entities"][0] for one in models] == [
        "default_agent_loop#think[0].ask", "default_agent_loop#think[1].ask"
    ]  # fmt: skip
    assert [one["seq"] for one in (models[0], call, models[1])] == sorted(
        one["seq"] for one in (*models, call)
    )


@pytest.mark.req("WFE-03")
async def test_a_node_type_from_the_plugin_folder_is_used_by_a_workflow_and_described(
    make_agent: MakeAgent, tmp_path: Path
) -> None:
    (tmp_path / "own_types").mkdir()
    (tmp_path / "own_types/shout.py").write_text(SHOUT)
    nodes = 'a: {type: shout, text: "${{ inputs.text }}"}\nsay: {type: output, text: "${{ a.loud }}"}'
    async with make_agent(nodes, plugins_dir=tmp_path / "own_types") as agent:
        assert said(await agent.ask("hey")) == "HEY!"
        listed = (await agent.client.get("/api/node-types")).json()
    (shout,) = [one for one in listed["node_types"] if one["type"] == "shout"]
    assert (shout["doc"], shout["inputs"], shout["outputs"]) == (
        "Says it louder.", {"text": "text"}, {"loud": "text"}
    )  # fmt: skip
    assert shout["config"]["properties"]["text"]["description"] == "What to shout."
    assert shout["origin"] == str(tmp_path / "own_types/shout.py")
    assert listed["broken_plugins"] == []


@pytest.mark.req("WFE-05")
@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("as it stands", "as it stands"),
        ("${{ inputs.text }}", "hey"),
        ("${{ two.text }}", "one two"),
        ("${{ three.data.expression }}", "2+3"),
        ("${{ 'abc'[1] ~ [4, {'x': [5, 6]}][1].x[0] }}", "b5"),
        ("Hello ${{ inputs.text | upper }}, ${{ two.text | length }}!", "Hello HEY, 7!"),
        ("${{ left.text | default(two.text) }}", "one two"),
    ],
)
async def test_a_node_gets_its_input_in_every_form(make_agent: MakeAgent, text: str, reply: str) -> None:
    nodes = f"""
        one: {{type: output, text: one}}
        two: {{type: output, text: "${{{{ one.text }}}} two"}}
        left: {{type: output, text: left, when: false}}
        three: {{type: tool, tool: calculator, args: {{expression: "${{{{ 1 + 1 }}}}+3"}}}}
        say: {{type: output, join: done, text: "{text}"}}
        """
    async with make_agent(nodes) as agent:
        assert (await carried_out(agent, "hey")).outputs == {"reply": reply}


@pytest.mark.req("WFE-05")
@pytest.mark.parametrize(
    ("line", "place", "problem"),
    [
        ("b: {type: output, text: '${{ c.text }}'}", "8:21", "unknown name 'c'"),
        ("b: {type: output, text: x, needs: [a, c]}", "8:41", "unknown node 'c'"),
        ("b: {type: output, text: '${{ a.txt }}'}", "8:21", "there is no output of 'a' named 'txt'"),
        ("a: {type: output, text: again}", "8:3", "duplicate key 'a'"),
        ("b: {type: output, text: x, text: y}", "8:30", "duplicate key 'text'"),
    ],
)
async def test_an_unknown_node_or_output_and_a_duplicate_key_are_refused_with_their_line(
    make_agent: MakeAgent, line: str, place: str, problem: str
) -> None:
    nodes = f"say: {{type: output, text: hello}}\na: {{type: output, text: x}}\n{line}"
    async with make_agent(nodes) as agent:
        status, code, message = refused(await agent.ask("hey"))
    assert (status, code) == (500, "invalid_config_file")
    assert f"own.yaml:{place}:" in message
    assert problem in message


@pytest.mark.req("WFE-06")
@pytest.mark.parametrize(
    ("text", "reply", "taken", "untaken"),
    [
        ("what is 6 * 7", "42", "direct", "think"),
        ("Tell me a story.", "Once upon a time.", "think", "direct"),
    ],
)
async def test_the_way_that_a_turn_does_not_go_is_skipped_and_the_answer_is_that_of_the_other(
    make_agent: MakeAgent, text: str, reply: str, taken: str, untaken: str
) -> None:
    async with make_agent() as agent:
        await agent.says(ScriptedAnswer(text="Once upon a time."))
        result = await carried_out(agent, text)
    assert statuses(result)[taken] == "succeeded"
    assert statuses(result)[untaken] == "skipped"
    assert result.nodes[untaken].attempts == []
    assert statuses(result)["say"] == "succeeded"
    assert result.outputs == {"reply": reply}


@pytest.mark.req("WFE-06")
async def test_a_merge_waits_for_the_taken_side_only_and_one_without_any_is_skipped(
    make_agent: MakeAgent,
) -> None:
    nodes = """
        choose: {type: switch, on: "${{ inputs.text }}", cases: {l: [left], r: [right]}, default: []}
        left: {type: tool, tool: calculator, args: {expression: "1+1"}}
        right: {type: output, text: from the right}
        after: {type: output, text: "${{ right.text }}, later"}
        merge: {type: output, join: any, text: "${{ left.text | default(after.text) }}"}
        both: {type: output, text: "${{ left.text }} ${{ right.text }}"}
        say: {type: output, join: done, text: "${{ merge.text | default('neither') }}"}
        """
    async with make_agent(nodes) as agent:
        results = {text: await carried_out(agent, text) for text in ("l", "r", "x")}
    assert {text: result.outputs["reply"] for text, result in results.items()} == {
        "l": "2", "r": "from the right, later", "x": "neither",
    }  # fmt: skip
    skipped = {
        text: {path for path, status in statuses(result).items() if status == "skipped"}
        for text, result in results.items()
    }
    assert skipped == {
        "l": {"right", "after", "both"}, "r": {"left", "both"},
        "x": {"left", "right", "after", "merge", "both"},
    }  # fmt: skip


@pytest.mark.req("WFE-07")
@pytest.mark.parametrize("bound", [1, 4])
async def test_a_model_that_never_answers_is_stopped_at_the_bound_and_the_answer_says_so(
    make_agent: MakeAgent, bound: int
) -> None:
    text = (WORKFLOWS / "default_agent_loop.yaml").read_text()
    file = text.replace("max_iterations: 6", f"max_iterations: {bound}")
    async with make_agent(file=file, workflow="default_agent_loop") as agent:
        await agent.announce_expert(model="big", tools="native")
        await agent.says(SUM)
        answer = await agent.ask(QUESTION)
        assert len(await requests(agent)) == bound
    assert refused(answer) == (
        500,
        "loop_exhausted",
        "workflow 'default_agent_loop': node 'think': "
        f"loop 'think' was not done after {bound} rounds (max_iterations)",
    )


@pytest.mark.req("WFE-07")
async def test_a_final_answer_in_the_last_round_that_there_may_be_counts(make_agent: MakeAgent) -> None:
    text = (WORKFLOWS / "default_agent_loop.yaml").read_text()
    file = text.replace("max_iterations: 6", "max_iterations: 3")
    async with make_agent(file=file, workflow="default_agent_loop") as agent:
        await agent.announce_expert(model="big", tools="native")
        await agent.says(SUM, SUM, ANSWER)
        assert said(await agent.ask(QUESTION)) == "That makes 83810205 tiles."
        assert [len(one["messages"]) for one in await requests(agent)] == [2, 4, 6]


SLOW = """
    ask: {type: llm, model: main, messages: ["${{ user(inputs.text) }}"], timeout: 150ms}
    say: {type: output, text: "${{ ask.text }}"}
    """


@pytest.mark.req("WFE-09")
async def test_a_node_past_its_limit_is_cancelled_and_the_turn_fails_with_a_timeout(
    make_agent: MakeAgent,
) -> None:
    async with make_agent(SLOW) as agent:
        silence = Silence()
        await agent.behaves(silence)
        answer = await within(5, agent.ask("Tell me a story."))
        await within(2, silence.left.wait())
        steps = await outcomes(agent, "plan_step_execution", 1)
    assert refused(answer) == (
        504, "timeout", "workflow 'own': node 'ask': not done within 0.15 s (timeout)"
    )  # fmt: skip
    assert [step["status"] for step in steps] == ["timeout"]


@pytest.mark.req("WFE-09")
@pytest.mark.parametrize("block", [False, True])
async def test_a_node_past_its_limit_has_the_status_of_one_and_what_comes_after_it_does_not_run(
    make_agent: MakeAgent, block: bool
) -> None:
    inner = 'ask: {type: llm, model: main, messages: ["${{ user(inputs.text) }}"]}'
    loop = f"""
        think:
          type: loop
          max_iterations: 2
          until: true
          timeout: 150ms
          outputs: {{text: "${{{{ ask.text }}}}"}}
          do: {{{inner}}}
        say: {{type: output, text: "${{{{ think.text }}}}"}}
        """
    async with make_agent(loop if block else SLOW) as agent:
        silence = Silence()
        await agent.behaves(silence)
        result = await within(5, carried_out(agent))
        await within(2, silence.left.wait())
    assert result.status == "failed"
    assert statuses(result) == (
        {"think": "timed_out", "think[0].ask": "cancelled"} if block else {"ask": "timed_out"}
    )


@pytest.mark.req("WFE-09")
async def test_the_error_route_of_a_node_past_its_limit_is_taken(make_agent: MakeAgent) -> None:
    nodes = """
        ask:
          type: llm
          model: main
          messages: ["${{ user(inputs.text) }}"]
          timeout: 150ms
          on_error: mend
        mend: {type: output, text: "Sorry: ${{ ask.error.code }} at ${{ ask.error.node }}"}
        other: {type: output, text: "${{ ask.text }}"}
        say: {type: output, text: "${{ mend.text }}"}
        """
    async with make_agent(nodes) as agent:
        silence = Silence()
        await agent.behaves(silence)
        result = await within(5, carried_out(agent))
        await within(2, silence.left.wait())
    assert result.outputs == {"reply": "Sorry: timeout at ask"}
    assert statuses(result) == {
        "ask": "timed_out", "mend": "succeeded", "say": "succeeded", "other": "skipped",
    }  # fmt: skip


@pytest.mark.req("WFE-14")
@pytest.mark.parametrize("trouble", [{"status": 503}, {"status": 429, "retry_after": 1}, {"cut_after": 1}])
async def test_a_model_that_fails_twice_for_a_passing_reason_answers_at_the_third_attempt(
    make_agent: MakeAgent, trouble: Any
) -> None:
    bad = ScriptedAnswer(text="Never heard of.", **trouble)
    async with make_agent() as agent:
        await agent.says(bad, bad, ScriptedAnswer(text="Once upon a time."))
        result = await carried_out(agent)
        steps = await outcomes(agent, "llm_inference", 3)
    assert result.status == "succeeded"
    assert result.outputs == {"reply": "Once upon a time."}
    ask = result.nodes["think[0].ask"]
    assert ask.status == "succeeded"
    assert [(attempt.number, attempt.status) for attempt in ask.attempts] == [
        (1, "failed"), (2, "failed"), (3, "succeeded")
    ]  # fmt: skip
    assert [attempt.error is None for attempt in ask.attempts] == [False, False, True]
    assert [step["status"] for step in steps] == ["failure", "failure", "success"]


@pytest.mark.req("WFE-14")
async def test_a_model_that_fails_once_more_than_it_is_tried_fails_the_turn(make_agent: MakeAgent) -> None:
    bad = ScriptedAnswer(status=503)
    async with make_agent() as agent:
        await agent.says(bad, bad, bad, ScriptedAnswer(text="Nobody asked for this."))
        result = await carried_out(agent)
        assert len(await requests(agent)) == 3
        assert (await soon(lambda: next((o for o in agent.logs if o["event"] == "turn"), None)))[
            "status"
        ] == "failed"
    assert [attempt.status for attempt in result.nodes["think[0].ask"].attempts] == ["failed"] * 3
