"""The one way from a node to the tools, and the one to the models. Both leave a record of every call."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from clusterkit.llm.chat import ChatCall, ModelError, ModelReply
from clusterkit.telemetry.actions import ActionType
from pipecatapp.runs.events import ToolCalled
from pipecatapp.runs.records import ToolCallRecord
from pipecatapp.runs.state import RunState
from pipecatapp.tools.base import Risk, ToolContext, ToolError, ToolResult
from pipecatapp.tools.registry import check_arguments
from pipecatapp.workflow.errors import ErrorCode, NodeError


class RecordedModels:
    """`Models` for one node of one run."""

    def __init__(self, run: RunState, path: str) -> None:
        """`path`: the node that asks."""
        self._run, self._path = run, path

    async def chat(self, call: ChatCall, on_text: Callable[[str], Awaitable[None]]) -> ModelReply:
        """See `Models.chat`. Raises `NodeError` with the code of the `ModelError`."""
        run = self._run
        async with run.action(ActionType.LLM_INFERENCE, self._path, about=(f"model:{call.model}",)) as action:
            try:
                reply = await run.engine.models.chat(call, on_text)
            except ModelError as error:
                raise NodeError(ErrorCode(error.code), str(error), retry_after=error.retry_after) from error
            action.tokens(reply.tokens_in, reply.tokens_out)
        return reply


class RecordedTools:
    """`Tools` for one node of one run. Refuses what would need a person's approval."""

    def __init__(self, run: RunState, path: str) -> None:
        """`path`: the node that calls."""
        self._run, self._path = run, path
        self._tools = run.engine.tools

    def schemas(self, names: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """See `Tools.schemas`."""
        return self._tools.schemas(names)

    def risk(self, name: str) -> Risk:
        """See `Tools.risk`."""
        return self._tools.risk(name)

    async def call(self, name: str, arguments: Any) -> ToolResult:
        """See `Tools.call`."""
        run, clock = self._run, self._run.engine.clock
        started = clock.monotonic()
        result: ToolResult | None = None
        problem = "cancelled"
        try:
            async with run.action(
                ActionType.TOOL_CALL,
                self._path,
                tool_name=name,
                tool_parameters=arguments if isinstance(arguments, Mapping) else {"arguments": arguments},
            ) as action:
                result = await self._carry_out(name, arguments)
                action.output(result.data)
            return result
        except Exception as error:
            problem = str(error) or type(error).__name__
            raise
        finally:
            self._record(name, arguments, result, problem, clock.monotonic() - started)

    async def _carry_out(self, name: str, arguments: Any) -> ToolResult:
        tool = self._tools.get(name)
        if tool.risk is not Risk.READ:
            raise ToolError(
                f"tool {tool.name!r} has the risk {tool.risk.value!r} and needs a person's approval, "
                "which this version cannot ask for",
                ErrorCode.APPROVAL_REQUIRED,
            )
        return await tool.run(check_arguments(tool, arguments), ToolContext(self._run.engine.clock))

    def _record(
        self, name: str, arguments: Any, result: ToolResult | None, problem: str, seconds: float
    ) -> None:
        succeeded = result is not None
        text = result.text if result is not None else problem
        self._run.tool_calls.append(ToolCallRecord(self._path, name, arguments, succeeded, text, seconds))
        # A model can invent names without end; a label per invention would never be forgotten.
        label = self._tools.get(name).name if self._tools.knows(name) else "unknown"
        self._run.engine.metrics.tool(label, succeeded=succeeded)
        self._run.listener(ToolCalled(self._path, name, succeeded))
