"""What looks at every model and tool call: before it, after it, when it failed.

The list of hooks is wired in `pipecatapp/__main__.py`; `pipecatapp/runs/calls.py` goes through it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from clusterkit.http.principal import Principal
from clusterkit.llm.chat import ModelReply
from pipecatapp.tools.base import Risk, ToolResult

if TYPE_CHECKING:
    from pipecatapp.runs.state import RunState

CallResult = ModelReply | ToolResult


class CallKind(StrEnum):
    """What is called."""

    MODEL = "model"
    TOOL = "tool"


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a model or a tool. Two calls are never equal, so a hook may keep notes by call."""

    kind: CallKind
    run: "RunState"
    path: str  #: the node that calls
    requested: str  #: the model or tool as the node names it, perhaps by an alias
    name: str  #: its own name; as requested where there is nothing of that name
    arguments: Any  #: a `ChatCall`, or a tool's arguments as they came, not yet checked
    risk: Risk | None  #: None for a model; the worst there is for a tool that does not exist
    began: float  #: seconds, on the engine's monotonic clock

    @property
    def principal(self) -> Principal:
        """Who asked for the run."""
        return self.run.principal


class CallHook:
    """The base of all hooks, which does nothing. One instance serves all calls, many at once.

    `before` goes through the list in order. Whoever raises there refuses the call: neither it nor the
    hooks after are begun. `after` and `failed` go through it in reverse, and for each call exactly one of
    them is called on every hook whose `before` returned, also when the call was refused by a hook behind,
    or was cancelled. A hook whose `before` raises or is cancelled cleans up by itself.

    An `after` that raises makes the call fail: the hooks before it get `failed` with that error. An error
    in a `failed` is logged, and the call's own error stands.
    """

    async def before(self, call: Call) -> None:
        """The call is about to be made. Raises `NodeError` to refuse it."""

    async def after(self, call: Call, result: CallResult) -> None:
        """The call succeeded."""

    async def failed(self, call: Call, error: BaseException) -> None:
        """The call was refused, failed, or was cancelled (`asyncio.CancelledError`)."""
