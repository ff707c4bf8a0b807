"""The hooks that keep the books of calls: the log of actions, tokens, metrics, the record of the run."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from clusterkit.llm.chat import ModelError, ModelReply
from clusterkit.telemetry.actions import ActionType
from clusterkit.telemetry.event_log import Action
from clusterkit.telemetry.metrics import Metrics, exemplar
from pipecatapp.runs.events import ToolCalled
from pipecatapp.runs.hooks import Call, CallHook, CallKind, CallResult
from pipecatapp.runs.records import ToolCallRecord, Usage
from pipecatapp.tools.registry import ToolRegistry


class ToolCallsHook(CallHook):
    """Every tool call is in the run's result, and whoever listens to the run is told of it."""

    async def after(self, call: Call, result: CallResult) -> None:
        """See `CallHook.after`."""
        if not isinstance(result, ModelReply):
            self._record(call, result.text, succeeded=True)

    async def failed(self, call: Call, error: BaseException) -> None:
        """See `CallHook.failed`."""
        if call.kind is CallKind.TOOL:
            problem = (str(error) or type(error).__name__) if isinstance(error, Exception) else "cancelled"
            self._record(call, problem, succeeded=False)

    def _record(self, call: Call, text: str, *, succeeded: bool) -> None:
        run = call.run
        seconds = run.engine.clock.monotonic() - call.began
        run.tool_calls.append(
            ToolCallRecord(call.path, call.requested, call.arguments, succeeded, text, seconds)
        )
        run.listener(ToolCalled(call.path, call.requested, succeeded))


class ToolMetricsHook(CallHook):
    """Counts tool calls by outcome."""

    def __init__(self, metrics: Metrics, tools: ToolRegistry) -> None:
        """Declare the counter."""
        self._tools = tools
        self._calls = metrics.counter("hearth_tool_calls", "Tool calls by outcome.", ("tool", "outcome"))

    async def after(self, call: Call, result: CallResult) -> None:
        """See `CallHook.after`."""
        self._count(call, "success")

    async def failed(self, call: Call, error: BaseException) -> None:
        """See `CallHook.failed`."""
        self._count(call, "failure")

    def _count(self, call: Call, outcome: str) -> None:
        if call.kind is CallKind.TOOL:
            # A model can invent names without end; a label per invention would never be forgotten.
            label = call.name if self._tools.knows(call.name) else "unknown"
            self._calls.labels(label, outcome).inc(exemplar=exemplar())


class UsageHook(CallHook):
    """Adds the tokens of every attempt at a model to those of the run."""

    async def after(self, call: Call, result: CallResult) -> None:
        """See `CallHook.after`."""
        if isinstance(result, ModelReply):
            self._add(call, result)

    async def failed(self, call: Call, error: BaseException) -> None:
        """See `CallHook.failed`."""
        if isinstance(error, ModelError):
            self._add(call, error)

    def _add(self, call: Call, spent: ModelReply | ModelError) -> None:
        call.run.usages.append(Usage(spent.tokens_in or 0, spent.tokens_out or 0))


class ActionLogHook(CallHook):
    """Every call is an action in the event log: an intent before it, one outcome after it.

    A tool call waits until its intent is on disk, and is not made when it cannot be written. Hooks behind
    this one in the list are part of the action: what they refuse is in the log as a failure.
    """

    def __init__(self) -> None:
        """Nothing is under way."""
        self._open: dict[Call, tuple[AbstractAsyncContextManager[Action], Action]] = {}

    async def before(self, call: Call) -> None:
        """See `CallHook.before`. Raises `StorageError`."""
        under_way = _action(call)
        self._open[call] = under_way, await under_way.__aenter__()

    async def after(self, call: Call, result: CallResult) -> None:
        """See `CallHook.after`."""
        under_way, action = self._open.pop(call)
        if isinstance(result, ModelReply):
            action.tokens(result.tokens_in, result.tokens_out)
        else:
            action.output(result.data)
        await under_way.__aexit__(None, None, None)

    async def failed(self, call: Call, error: BaseException) -> None:
        """See `CallHook.failed`."""
        under_way, action = self._open.pop(call)
        if isinstance(error, ModelError):
            action.tokens(error.tokens_in, error.tokens_out)
        await under_way.__aexit__(type(error), error, error.__traceback__)


def _action(call: Call) -> AbstractAsyncContextManager[Action]:
    if call.kind is CallKind.MODEL:
        about = (f"model:{call.requested}",)
        return call.run.action(ActionType.LLM_INFERENCE, call.path, about=about)
    arguments = call.arguments
    return call.run.action(
        ActionType.TOOL_CALL,
        call.path,
        tool_name=call.requested,
        tool_parameters=arguments if isinstance(arguments, Mapping) else {"arguments": arguments},
    )
