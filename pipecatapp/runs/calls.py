"""The one way from a node to the tools, and the one to the models. Every call goes through the hooks."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import structlog

from clusterkit.llm.chat import ChatCall, ModelError, ModelReply
from pipecatapp.runs.hooks import Call, CallHook, CallKind
from pipecatapp.runs.state import RunState
from pipecatapp.tools.base import Risk, ToolContext, ToolResult
from pipecatapp.tools.registry import check_arguments
from pipecatapp.workflow.errors import ErrorCode, NodeError

log = structlog.get_logger()

Result = TypeVar("Result", ModelReply, ToolResult)


class RecordedModels:
    """`Models` for one node of one run."""

    def __init__(self, run: RunState, path: str) -> None:
        """`path`: the node that asks."""
        self._run, self._path = run, path

    async def chat(self, call: ChatCall, on_text: Callable[[str], Awaitable[None]]) -> ModelReply:
        """See `Models.chat`. Raises `NodeError` with the code of the `ModelError`."""
        engine = self._run.engine
        about = Call(
            kind=CallKind.MODEL,
            run=self._run,
            path=self._path,
            requested=call.model,
            name=call.model,
            arguments=call,
            risk=None,
            began=engine.clock.monotonic(),
        )
        try:
            return await _through_hooks(about, lambda: engine.models.chat(call, on_text))
        except ModelError as error:
            raise NodeError(ErrorCode(error.code), str(error), retry_after=error.retry_after) from error


class RecordedTools:
    """`Tools` for one node of one run."""

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
        about = Call(
            kind=CallKind.TOOL,
            run=self._run,
            path=self._path,
            requested=name,
            name=self._tools.get(name).name if self._tools.knows(name) else name,
            arguments=arguments,
            risk=self._tools.risk(name),
            began=self._run.engine.clock.monotonic(),
        )
        return await _through_hooks(about, lambda: self._carry_out(name, arguments))

    async def _carry_out(self, name: str, arguments: Any) -> ToolResult:
        tool = self._tools.get(name)
        engine = self._run.engine
        return await tool.run(check_arguments(tool, arguments), ToolContext(engine.clock, engine.zone))


async def _through_hooks(call: Call, carry_out: Callable[[], Awaitable[Result]]) -> Result:
    """Make a call with all hooks around it; see `CallHook` for who is told what, and when."""
    begun: list[CallHook] = []
    try:
        for hook in call.run.engine.hooks:
            await hook.before(call)
            begun.append(hook)
        result = await carry_out()
        await _tell_of_success(begun, call, result)
        return result
    except BaseException as error:
        await _tell_of_failure(begun, call, error)
        raise


async def _tell_of_success(begun: list[CallHook], call: Call, result: ModelReply | ToolResult) -> None:
    while begun:
        hook = begun.pop()
        try:
            await hook.after(call, result)
        except Exception as error:
            # For the log of actions: what the call did, it did.
            error.add_note(f"The call itself succeeded; {type(hook).__name__} raised this after it.")
            raise


async def _tell_of_failure(begun: list[CallHook], call: Call, error: BaseException) -> None:
    while begun:
        hook = begun.pop()
        try:
            await hook.failed(call, error)
        except asyncio.CancelledError as cancelled:
            await _tell_of_failure(begun, call, cancelled)
            raise
        except Exception as problem:  # the caller must get the call's own error, not this one
            log.error("hook_failed", hook=type(hook).__name__, call=call.name, exc_info=problem)
