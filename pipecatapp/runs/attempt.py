"""One try at one node: configuration in, the node's own work within its time, outputs checked."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pipecatapp.nodes.base import Branch, NodeContext
from pipecatapp.runs.calls import RecordedModels, RecordedTools
from pipecatapp.runs.state import RunState
from pipecatapp.workflow.errors import ErrorCode, NodeError, NodeTimeoutError
from pipecatapp.workflow.graph import GraphNode
from pipecatapp.workflow.ports import as_node_error, check_outputs, configure, limit_reached
from pipecatapp.workflow.signals import TimerKind


async def attempt(
    run: RunState, node: GraphNode, path: str, number: int, values: Mapping[str, Any]
) -> Branch:
    """Carry out a node once; `values` are its configuration. Raises `NodeError`, whatever went wrong."""
    try:
        async with _time_limits(node) as alive:
            context = NodeContext(
                path=path,
                attempt=number,
                clock=run.engine.clock,
                models=RecordedModels(run, path),
                tools=RecordedTools(run, path),
                grammars=run.engine.grammars,
                emit=_emitter(run, node, alive),
                alive=alive,
            )
            config = configure(node, values)
            result = await run.engine.nodes.get(node.spec.type).run(config, context)
        branch = result if isinstance(result, Branch) else Branch(result)
        check_outputs(node, branch.outputs)
        return branch
    except NodeError:
        raise
    except ExceptionGroup as group:
        raise first_failure(group) from group
    except Exception as error:  # the edge to node code, which may be a plug-in's
        raise as_node_error(node, error) from error


def first_failure(group: BaseExceptionGroup[Any]) -> NodeError:
    """The failure that ended a group of tasks; the others were cancelled because of it."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return first_failure(error)
        if isinstance(error, NodeError):
            return error
    return NodeError(ErrorCode.INTERNAL, f"{type(group.exceptions[0]).__name__}: {group.exceptions[0]}")


@asynccontextmanager
async def _time_limits(node: GraphNode) -> AsyncIterator[Callable[[], None]]:
    whole, idle = node.common.timeout, node.common.idle_timeout
    loop, whole_limit, idle_limit = asyncio.get_running_loop(), asyncio.timeout(whole), asyncio.timeout(idle)
    try:
        if (
            whole is None and idle is None
        ):  # as most nodes, and entering two timeouts costs more than the rest
            yield _nothing
            return
        async with whole_limit, idle_limit:

            def alive() -> None:
                if idle is not None and not idle_limit.expired():
                    idle_limit.reschedule(loop.time() + idle)

            yield alive
    except TimeoutError as error:
        if whole is not None and whole_limit.expired():
            raise limit_reached(TimerKind.TIMEOUT, whole) from error
        if idle is not None and idle_limit.expired():
            raise limit_reached(TimerKind.IDLE_TIMEOUT, idle) from error
        if isinstance(error, NodeError):
            raise
        raise NodeTimeoutError(ErrorCode.TIMEOUT, str(error) or "the node timed out") from error


def _nothing() -> None:
    """A sign of life that nobody waits for."""


def _emitter(run: RunState, node: GraphNode, alive: Callable[[], None]) -> Any:
    if node.spec.passes_on is not None:

        async def finish(text: str) -> None:
            run.speech.finish(node.path, text)

        return finish

    async def emit(text: str) -> None:
        alive()
        if node.relay_to is not None:
            run.speech.add(node.relay_to, text)

    return emit
