"""The workflow file as it is written: pydantic models of format version 1."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from pipecatapp.workflow.errors import ErrorCode

#: Names of workflows, nodes, inputs and outputs.
IDENTIFIER = r"^[a-z][a-z0-9_]{0,63}$"
Identifier = Annotated[str, Field(pattern=IDENTIFIER)]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
MAX_SECONDS = 7 * 24 * 3600.0  #: no step of a workflow may be given longer


def seconds(value: Any) -> float:
    """`10s`, `1.5m`, `500ms` or `1h` in seconds. Raises `ValueError`."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected a duration such as 500ms, 10s, 1m or 1h")
    result = float(match[1]) * _SECONDS[match[2]]
    if not 0 < result <= MAX_SECONDS:
        raise ValueError("a duration must be longer than nothing and at most a week (168h)")
    return result


Duration = Annotated[
    float,
    BeforeValidator(seconds),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h)$"}),
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Retry(_Strict):
    """When and how often a failed node is tried again."""

    max_attempts: int = Field(ge=1, le=20, description="Attempts in all, the first one included.")
    backoff: Duration = 1.0
    max_backoff: Duration = 30.0
    on: tuple[ErrorCode, ...] | None = Field(None, description="Error codes; default: those worth a retry.")


class Budget(_Strict):
    """What a run may use up. This version honours `wall` alone and refuses the others."""

    tokens: int | None = Field(None, ge=1)
    usd: float | None = Field(None, ge=0)
    llm_calls: int | None = Field(None, ge=1)
    wall: Duration | None = None


class Input(_Strict):
    """One input of the workflow; without a default it must be given."""

    type: str = "any"
    default: Any = None
    description: str = ""

    @property
    def required(self) -> bool:
        """Whether every run must give it."""
        return "default" not in self.model_fields_set


class CommonKeys(_Strict):
    """What every node understands, whatever its type."""

    type: str = Field(description="The node type.")
    needs: tuple[str, ...] = Field(
        (), description="Nodes that must have ended before, without data from them."
    )
    when: Any = Field(None, description="The node is skipped unless this is true.")
    join: Literal["all", "any", "done"] = Field(
        "all",
        description="all: everything before it succeeded; any: one branch did; done: they ended.",
    )
    timeout: Duration | None = Field(None, description="Longest time for one attempt.")
    idle_timeout: Duration | None = Field(
        None, description="Longest time without a sign of life, e.g. a token."
    )
    retry: Retry | None = None
    on_error: str = Field("fail", description="fail, continue, or the id of the node that takes over.")
    fallback: dict[str, Any] | None = Field(
        None, description="Outputs by port to go on with after a failure; `error` tells what happened."
    )
    on_crash: Literal["fail", "retry", "ask"] = Field(
        "fail", description="What to do with the node when the program died in it. This version: fail."
    )


class WorkflowFile(_Strict):
    """A whole workflow file."""

    schema_: Literal[1] = Field(alias="schema", description="The version of the file format.")
    name: Identifier
    description: str = ""
    inputs: dict[Identifier, Input] = Field(default_factory=dict)
    outputs: dict[Identifier, Any] = Field(default_factory=dict)
    budget: Budget = Budget()
    durability: Literal["step", "end", "none"] = Field(
        "none", description="What survives a crash of the program. This version: none."
    )
    concurrency: dict[str, Any] | None = Field(None, description="Not supported yet by this version.")
    nodes: dict[Identifier, dict[str, Any]] = Field(min_length=1)
    on_failure: dict[str, Any] | None = Field(None, description="Not supported yet by this version.")
    ui: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="Places of nodes, for the editor."
    )
