from pathlib import Path

import pytest

from pipecatapp.runs.records import RunFailedError


@pytest.mark.req("TEL-03", "TEL-04")
async def test_steps_tool_calls_and_model_calls_are_logged_with_what_they_cost(kit, script):
    kit.models.replies = [script("hi")]
    await kit.run("""
        sum: {type: tool, tool: calculator, args: {expression: 6*7}}
        ask: {type: llm, model: main, messages: ["${{ user(sum.text) }}"]}
    """)
    events = await kit.events()
    kinds = sorted(event.action_type.value for event in events)
    assert kinds == ["llm_inference", "plan_step_execution", "plan_step_execution", "tool_call"]
    assert {event.task_id for event in events} == {"run-1"}
    assert {event.agent_id for event in events} == {"tester"}
    tool = next(event for event in events if event.action_type == "tool_call")
    assert (tool.tool_name, tool.tool_parameters) == ("calculator", {"expression": "6*7"})
    assert tool.tool_output["result"] == "42"
    cost = tool.resource_metrics
    assert None not in (cost.cpu_usage_percent, cost.memory_usage_mb, cost.api_call_latency_ms)
    model = next(event for event in events if event.action_type == "llm_inference")
    assert (model.resource_metrics.token_count_in, model.resource_metrics.token_count_out) == (11, 1)
    assert model.context_snapshot.entities == ("demo#ask", "model:main")
    assert {event.context_snapshot.files for event in events} == {("demo.yaml",)}
    assert {event.context_snapshot.cwd for event in events} == {str(Path.cwd())}


@pytest.mark.parametrize(
    ("keys", "code", "complaint"),
    [
        (
            "tool: nope",
            "unknown_tool",
            r"'nope' \(known: add_note, broken, ",
        ),
        ("tool: broken", "tool_failed", "it is broken"),
        (
            "tool: clock, args: {zon: x}",
            "bad_arguments",
            r"for 'clock': zon: .*\(it takes: zone\)",
        ),
        ("tool: clock, args: 'not json'", "bad_arguments", "must be a JSON object, not 'not json'"),
        (
            "tool: clock, allow: [calculator]",
            "unknown_tool",
            r"not offered here \(offered: calculator\)",
        ),
        ("tool: writer", "approval_required", "has the risk 'write' and needs a person's approval"),
    ],
)
async def test_a_tool_call_that_cannot_succeed_fails_and_is_logged_as_failure(kit, keys, code, complaint):
    with pytest.raises(RunFailedError, match=complaint) as caught:
        await kit.run(f"a: {{type: tool, {keys}}}")
    assert caught.value.code == code
    failed = [event for event in await kit.events() if event.status == "failure"]
    assert {event.error_details.code for event in failed} == {code}
    assert all(not call.succeeded for call in caught.value.result.tool_calls)
