"""A policy check is a class and a line: it sees every model and tool call of the wired agent."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from clusterkit.http.principal import Principal, PrincipalKind
from clusterkit.llm.chat import ChatCall
from clusterkit.testing import ScriptedAnswer
from pipecatapp.runs.hooks import Call, CallHook, CallKind, CallResult
from pipecatapp.settings import PipecatappSettings
from pipecatapp.tools.base import Risk
from pipecatapp.turns.turns import Turn
from pipecatapp.workflow.errors import ErrorCode, NodeError
from tests.servers.agent import WORKFLOWS, RunningAgent, Silence, running_agent, within

LAPTOP = Principal(PrincipalKind.CLIENT, "laptop")
MakeAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]
SUM = ScriptedAnswer(tool_calls=[{"name": "calculator", "arguments": {"expression": "6*7"}}])
ANSWER = ScriptedAnswer(text="It is 42.")


class Watch(CallHook):
    """Notes what it sees, under a name, and does as `deeds` say at a moment."""

    def __init__(self, name: str, seen: list[str], **deeds: Callable[[Call], Awaitable[None]]) -> None:
        self.name, self.seen, self.deeds = name, seen, deeds
        self.calls: list[Call] = []
        self.errors: list[BaseException] = []

    async def _note(self, moment: str, call: Call) -> None:
        self.seen.append(f"{self.name} {moment} {call.kind}")
        if moment in self.deeds:
            await self.deeds[moment](call)

    async def before(self, call: Call) -> None:
        self.calls.append(call)
        await self._note("before", call)

    async def after(self, call: Call, result: CallResult) -> None:
        await self._note("after", call)

    async def failed(self, call: Call, error: BaseException) -> None:
        self.errors.append(error)
        await self._note("failed", call)


def refuse_tools(call: Call) -> Awaitable[None]:
    return _raise(call, NodeError(ErrorCode.APPROVAL_REQUIRED, "not today"))


def stumble(call: Call) -> Awaitable[None]:
    return _raise(call, ValueError("planted"))


class Hang:
    """A deed that never ends."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def __call__(self, call: Call) -> None:
        self.begun.set()
        await asyncio.Event().wait()


async def _raise(call: Call, error: Exception) -> None:
    if call.kind is CallKind.TOOL:
        raise error


@pytest.fixture
def make_agent(tmp_path: Path) -> MakeAgent:
    def make(*policies: CallHook, **more: Any) -> AbstractAsyncContextManager[RunningAgent]:
        settings = PipecatappSettings(**{"home": tmp_path, "workflows_dir": WORKFLOWS, **more})
        return running_agent(settings, policies)

    return make


async def ask(agent: RunningAgent, *turns: ScriptedAnswer, text: str = "How many tiles?") -> Any:
    """Ask with a model that is good enough for tools; the run's result."""
    await agent.says(*turns)
    await agent.announce_expert(model="big", tools="native")
    async with agent.agent.turns.run(Turn(text), principal=LAPTOP) as running:
        text = "".join([piece async for piece in running.pieces()])
        return text, running.result


async def logged(agent: RunningAgent, action_type: str) -> Sequence[Any]:
    """The outcomes of the log of actions, once every intent has one."""
    for _ in range(1000):
        query = f"/api/events?action_type={action_type}&limit=1000"
        rows = (await agent.client.get(query)).json()["events"]
        outcomes = [row for row in rows if row["phase"] == "outcome"]
        if outcomes and len(outcomes) * 2 == len(rows):
            return outcomes
        await asyncio.sleep(0.005)
    raise AssertionError("an outcome is missing")


async def test_a_policy_sees_every_model_and_tool_call_with_who_it_is_for(make_agent: MakeAgent) -> None:
    watch = Watch("w", [])
    async with make_agent(watch) as agent:
        text, result = await ask(agent, SUM, ANSWER)
    assert text == "It is 42."
    assert watch.seen == [
        "w before model", "w after model", "w before tool", "w after tool", "w before model", "w after model"
    ]  # fmt: skip
    model, tool, _ = watch.calls
    assert {call.principal for call in watch.calls} == {LAPTOP}
    assert {call.run.run_id for call in watch.calls} == {result.run_id}
    assert (model.path, model.name, model.risk) == ("think[0].ask", "main", None)
    assert isinstance(model.arguments, ChatCall)
    assert (tool.path, tool.name, tool.risk) == ("think[0].act[0].call", "calculator", Risk.READ)
    assert tool.arguments == {"expression": "6*7"}


async def test_a_tool_goes_by_its_own_name_whatever_alias_is_used(
    make_agent: MakeAgent, tmp_path: Path
) -> None:
    (tmp_path / "default_agent_loop.yaml").write_text(
        "schema: 1\nname: default_agent_loop\nnodes:\n  a: {type: tool, tool: mcp_tool}\n"
    )
    watch = Watch("w", [])
    async with make_agent(watch, workflows_dir=tmp_path) as agent:
        await ask(agent)
    assert [(call.requested, call.name) for call in watch.calls] == [("mcp_tool", "system_status")]


async def test_a_call_that_a_policy_refuses_is_not_made_and_is_in_the_log(make_agent: MakeAgent) -> None:
    seen: list[str] = []
    outer, refusing, inner = Watch("outer", seen), Watch("r", seen, before=refuse_tools), Watch("inner", seen)
    async with make_agent(outer, refusing, inner) as agent:
        text, result = await ask(agent, SUM, ScriptedAnswer(text="I may not."))
        (row,) = await logged(agent, "tool_call")
        assert (row["status"], row["error_details"]["code"]) == ("failure", "approval_required")
        assert row["principal"] == "client:laptop"
        metrics = (await agent.client.get("/metrics")).text
    assert text == "I may not."
    of_tool = [line for line in seen if line.endswith("tool")]
    assert of_tool == ["outer before tool", "r before tool", "outer failed tool"]
    assert [(call.tool, call.succeeded, call.text) for call in result.tool_calls] == [
        ("calculator", False, "not today")
    ]
    assert 'hearth_tool_calls_total{outcome="failure",tool="calculator"} 1.0' in metrics


async def test_hooks_go_in_order_before_a_call_and_in_reverse_after_it(make_agent: MakeAgent) -> None:
    seen: list[str] = []
    async with make_agent(Watch("a", seen), Watch("b", seen)) as agent:
        assert (await agent.ask("what is 6 * 7")).status_code == 200
    assert seen == ["a before tool", "b before tool", "b after tool", "a after tool"]


async def test_a_call_that_fails_is_told_to_every_hook_with_its_own_error(make_agent: MakeAgent) -> None:
    watch = Watch("w", [])
    async with make_agent(watch) as agent:
        await ask(agent, ScriptedAnswer(status=400), ANSWER, text="what is 1 / 0")
        (error,) = watch.errors
        assert "division by zero" in str(error)
        await agent.says(ScriptedAnswer(status=400))
        assert (await agent.ask("Tell me a story.")).status_code == 400
    assert watch.seen[-2:] == ["w before model", "w failed model"]


async def test_an_after_that_fails_loses_neither_the_outcome_nor_the_other_hooks(
    make_agent: MakeAgent,
) -> None:
    seen: list[str] = []
    async with make_agent(Watch("outer", seen), Watch("bad", seen, after=stumble)) as agent:
        await agent.ask("what is 6 * 7")
        (row,) = await logged(agent, "tool_call")
        (record,) = [line for line in agent.logs if line["event"] == "turn"]
    assert seen == ["outer before tool", "bad before tool", "bad after tool", "outer failed tool"]
    assert (row["status"], row["error_details"]["message"]) == ("failure", "planted")
    assert "The call itself succeeded; Watch raised this after it." in row["error_details"]["stack_trace"]
    assert record["tools"] == ["calculator"]


async def test_tokens_count_even_when_a_hook_fails_after_the_call(make_agent: MakeAgent) -> None:
    async def stumble_once(call: Call) -> None:
        if len(watch.calls) == 1:
            raise NodeError(ErrorCode.NETWORK, "planted")

    watch = Watch("w", [], after=stumble_once)
    async with make_agent(watch) as agent:
        await agent.says(ScriptedAnswer(text="one two three"))
        answer = (await agent.ask("Tell me a story.")).json()
    assert len(watch.calls) == 2
    assert answer["usage"]["completion_tokens"] == 6


async def test_a_failed_that_fails_is_logged_and_the_call_s_own_error_stands(make_agent: MakeAgent) -> None:
    seen: list[str] = []
    async with make_agent(Watch("outer", seen), Watch("bad", seen, failed=stumble)) as agent:
        answer = (await agent.ask("what is 1 / 0")).json()["choices"][0]["message"]["content"]
        (row,) = await logged(agent, "tool_call")
        assert (await agent.logged("hook_failed"))["hook"] == "Watch"
    assert "division by zero" in answer
    assert "division by zero" in row["error_details"]["message"]
    assert seen[-2:] == ["bad failed tool", "outer failed tool"]


def went_on(agent: RunningAgent) -> bool:
    """Whether a turn that was cancelled came to an end of its own."""
    return any(line["event"] == "turn" for line in agent.logs)


async def test_a_call_that_is_cancelled_is_told_to_every_hook_and_closed_in_the_log(
    make_agent: MakeAgent,
) -> None:
    outer, inner = Watch("outer", []), Watch("inner", [])
    async with make_agent(outer, inner) as agent:
        silence = Silence()
        await agent.behaves(silence)
        async with agent.agent.turns.run(Turn("Tell me a story."), principal=LAPTOP):
            await within(5, silence.asked.wait())
        (row,) = await logged(agent, "llm_inference")
    assert row["status"] == "interrupted"
    assert not went_on(agent)
    for watch in (outer, inner):
        assert [type(error) for error in watch.errors] == [asyncio.CancelledError]


async def test_a_call_that_is_cancelled_while_a_hook_hangs_still_reaches_the_other_hooks(
    make_agent: MakeAgent,
) -> None:
    seen: list[str] = []
    hang = Hang()
    outer, slow = Watch("outer", seen), Watch("slow", seen, after=hang)
    async with make_agent(outer, slow) as agent:
        async with agent.agent.turns.run(Turn("what is 6 * 7"), principal=LAPTOP):
            await within(5, hang.begun.wait())
        (row,) = await logged(agent, "tool_call")
    assert seen[-2:] == ["slow after tool", "outer failed tool"]
    assert [type(error) for error in outer.errors] == [asyncio.CancelledError]
    assert row["status"] == "interrupted"
    assert not went_on(agent)


async def test_a_cancellation_that_comes_while_failures_are_told_is_passed_on(make_agent: MakeAgent) -> None:
    seen: list[str] = []
    hang = Hang()
    outer, slow = Watch("outer", seen), Watch("slow", seen, failed=hang)
    async with make_agent(outer, slow) as agent:
        async with agent.agent.turns.run(Turn("what is 1 / 0"), principal=LAPTOP):
            await within(5, hang.begun.wait())
        (row,) = await logged(agent, "tool_call")
    assert [type(error) for error in outer.errors] == [asyncio.CancelledError]
    assert row["status"] == "interrupted"
    assert not went_on(agent)


async def test_the_log_says_who_each_action_was_done_for(make_agent: MakeAgent) -> None:
    async with make_agent() as agent:
        await agent.ask("what is 1 + 1")
        del agent.client.headers["authorization"]
        page = {"messages": [{"role": "user", "content": "what is 2 + 2"}]}
        assert "4" in (await agent.client.post("/api/chat", json=page)).text
        by_sum = {
            row["tool_parameters"]["expression"]: row["principal"] for row in await logged(agent, "tool_call")
        }
        steps = await logged(agent, "plan_step_execution")
    assert by_sum == {"1 + 1": "service", "2 + 2": "person"}
    assert {step["principal"] for step in steps} == {"service", "person"}
