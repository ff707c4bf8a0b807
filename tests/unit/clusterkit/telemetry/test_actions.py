"""The schema of an event: every field is there, and an event that makes no sense is refused."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from clusterkit.telemetry.actions import ActionOutcome, EventQuery

WHOLE: dict[str, Any] = {
    "event_id": "e1",
    "phase": "outcome",
    "timestamp": "2026-01-02T03:04:05Z",
    "task_id": "t1",
    "agent_id": "a1",
    "principal": "client:5f70bf18",
    "trace_id": "ab" * 16,
    "action_type": "tool_call",
    "tool_name": "shell",
    "tool_parameters": {"command": ["ls"]},
    "tool_output": {"stdout": "x", "stderr": "", "exit_code": 2},
    "status": "failure",
    "error_details": {"message": "exit code 2", "code": "tool_failed", "stack_trace": "…"},
    "resource_metrics": {
        "cpu_usage_percent": 12.5,
        "memory_usage_mb": 80.0,
        "token_count_in": 1,
        "token_count_out": 2,
        "api_call_latency_ms": 3.5,
    },
    "context_snapshot": {"cwd": "/srv", "files": ["a.py"], "entities": ["a.py::f"]},
}


@pytest.mark.req("TEL-01")
def test_an_event_has_every_field_of_the_specification() -> None:
    event = ActionOutcome.model_validate(WHOLE)
    assert event.model_dump(mode="json") == WHOLE
    assert event.timestamp == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.req("TEL-01")
@pytest.mark.parametrize("action_type", ["plan_step_execution", "llm_inference"])
def test_only_tool_calls_have_a_tool(action_type: str) -> None:
    other = {**WHOLE, "action_type": action_type}
    with pytest.raises(ValidationError, match="tool_name belongs to tool_call events"):
        ActionOutcome.model_validate(other)
    with pytest.raises(ValidationError, match="tool_parameters and tool_output belong to tool_call"):
        ActionOutcome.model_validate({**other, "tool_name": None})
    ActionOutcome.model_validate({**other, "tool_name": None, "tool_parameters": None, "tool_output": None})


@pytest.mark.req("TEL-01")
@pytest.mark.parametrize(
    "field",
    sorted(WHOLE.keys() - {"principal", "trace_id", "tool_parameters", "tool_output", "resource_metrics"}),
)
def test_an_event_without_a_field_it_needs_is_refused(field: str) -> None:
    with pytest.raises(ValidationError):
        ActionOutcome.model_validate({key: value for key, value in WHOLE.items() if key != field})


@pytest.mark.req("TEL-01")
@pytest.mark.parametrize(
    "wrong",
    [
        {"event_id": ""},
        {"task_id": ""},
        {"agent_id": ""},
        {"task_id": 7},
        {"phase": "middle"},
        {"timestamp": "2026-01-02T03:04:05"},
        {"timestamp": "yesterday"},
        {"action_type": "guess"},
        {"tool_parameters": ["ls"]},
        {"status": "fine"},
        {"status": "success"},
        {"status": "started"},
        {"phase": "intent"},
        {"error_details": "it broke"},
        {"error_details": {"message": "no code"}},
        {"error_details": None},
        {"status": "timeout", "error_details": None},
        {"resource_metrics": {"cpu_usage_percent": -1}},
        {"resource_metrics": {"cpu_usage_percent": float("nan")}},
        {"resource_metrics": {"memory_usage_mb": float("inf")}},
        {"resource_metrics": {"token_count_in": -1}},
        {"resource_metrics": {"token_count_out": 1.5}},
        {"resource_metrics": {"api_call_latency_ms": "slow"}},
        {"resource_metrics": {"watts": 5}},
        {"context_snapshot": {}},
        {"context_snapshot": {"cwd": "/srv", "files": "a.py"}},
        {"context_snapshot": {"cwd": "/srv", "entities": [1]}},
        {"colour": "blue"},
    ],
    ids=str,
)
def test_an_event_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ActionOutcome.model_validate({**WHOLE, **wrong})


def test_an_event_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ActionOutcome.model_validate(WHOLE).status = "success"  # type: ignore[misc, assignment]


@pytest.mark.parametrize(
    "wrong",
    [{"after": -1}, {"limit": 0}, {"limit": 1001}, {"since": "2026-01-02T03:04:05"}, {"taskid": "t"}],
    ids=str,
)
def test_a_query_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EventQuery.model_validate(wrong)
