"""The action-outcome event: what an agent did, with what result and at what cost.

Fields follow §3.1 of the self-improvement specification that Hearth implements. An event has two
phases: the *intent*, written before the action, and the *outcome*, written after it, so that even a
process that is killed leaves evidence.
"""

from enum import StrEnum
from typing import Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator


class ActionType(StrEnum):
    """What kind of action it was."""

    TOOL_CALL = "tool_call"
    PLAN_STEP_EXECUTION = "plan_step_execution"
    LLM_INFERENCE = "llm_inference"


class ActionPhase(StrEnum):
    """Before or after the action."""

    INTENT = "intent"
    OUTCOME = "outcome"


class ActionStatus(StrEnum):
    """How an action ended; an intent is `started`."""

    STARTED = "started"
    SUCCESS = "success"
    FAILURE = "failure"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ErrorDetails(_Strict):
    """Why an action failed."""

    message: str
    code: str
    stack_trace: str = ""


class ResourceMetrics(_Strict):
    """What an action cost. CPU is this process's over the action's time: 100 is one core busy."""

    cpu_usage_percent: float | None = Field(None, ge=0, allow_inf_nan=False)
    memory_usage_mb: float | None = Field(None, ge=0, allow_inf_nan=False)
    token_count_in: int | None = Field(None, ge=0)
    token_count_out: int | None = Field(None, ge=0)
    api_call_latency_ms: float | None = Field(None, ge=0, allow_inf_nan=False)


class ContextSnapshot(_Strict):
    """The surroundings of an action, kept small."""

    cwd: str
    files: tuple[str, ...] = ()  #: active files
    entities: tuple[str, ...] = ()  #: entities of the code graph, workflow nodes, services


class ActionOutcome(_Strict):
    """One row of the event log."""

    event_id: str = Field(min_length=1)  #: the same in intent and outcome
    phase: ActionPhase
    timestamp: AwareDatetime
    task_id: str = Field(min_length=1)
    agent_id: str = Field(min_length=1)
    principal: str | None = None  #: who it was done for, as `client:NAME`; unknown in older events
    trace_id: str | None = None
    action_type: ActionType
    tool_name: str | None = None
    tool_parameters: dict[str, Any] | None = None
    tool_output: Any = None
    status: ActionStatus
    error_details: ErrorDetails | None = None
    resource_metrics: ResourceMetrics = ResourceMetrics()
    context_snapshot: ContextSnapshot

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.action_type is ActionType.TOOL_CALL) != (self.tool_name is not None):
            raise ValueError("tool_name belongs to tool_call events, and each of them has one")
        if self.tool_name is None and (self.tool_parameters is not None or self.tool_output is not None):
            raise ValueError("tool_parameters and tool_output belong to tool_call events")
        if (self.phase is ActionPhase.INTENT) != (self.status is ActionStatus.STARTED):
            raise ValueError("an intent has the status 'started', an outcome has another one")
        failed = self.status in (ActionStatus.FAILURE, ActionStatus.TIMEOUT)
        if failed and self.error_details is None:
            raise ValueError("a failure or timeout needs error_details")
        if self.status in (ActionStatus.STARTED, ActionStatus.SUCCESS) and self.error_details is not None:
            raise ValueError(f"a {self.status} event has no error_details")
        return self


class EventQuery(_Strict):
    """Which events to read."""

    after: int = Field(0, ge=0, lt=2**63, description="Only events with a sequence number above this.")
    limit: int = Field(100, ge=1, le=1000)
    task_id: str | None = None
    tool_name: str | None = None
    action_type: ActionType | None = None
    status: ActionStatus | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None


class StoredEvent(ActionOutcome):
    """An event with its place in the log."""

    seq: int  #: ascending; the cursor of the feed
