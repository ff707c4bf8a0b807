"""One try at one node: inputs in, the node's own work within its time, outputs checked."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pydantic import ValidationError

from pipecatapp.nodes.base import Body, Branch, NodeContext
from pipecatapp.runs.calls import RecordedModels, RecordedTools
from pipecatapp.runs.state import RunState
from pipecatapp.workflow.errors import ErrorCode, NodeError, NodeTimeoutError
from pipecatapp.workflow.expressions import ExpressionError, render
from pipecatapp.workflow.graph import GraphNode
from pipecatapp.workflow.types import convert, problem


async def attempt(
    run: RunState, node: GraphNode, path: str, number: int, names: Mapping[str, Any], body: Body | None
) -> Branch:
    """Carry out a node once. Raises `NodeError`, whatever went wrong."""
    try:
        async with _time_limits(node) as alive:
            context = NodeContext(
                path=path,
                attempt=number,
                clock=run.engine.clock,
                models=RecordedModels(run, path),
                tools=RecordedTools(run, path),
                emit=_emitter(run, node, alive),
                alive=alive,
                body=body,
            )
            config = _config(node, names)
            made = await run.engine.nodes.get(node.spec.type).run(config, context)
        return _checked(node, made if isinstance(made, Branch) else Branch(made))
    except NodeError:
        raise
    except ExpressionError as error:
        raise NodeError(ErrorCode.EXPRESSION, str(error)) from error
    except ExceptionGroup as group:
        raise first_failure(group) from group
    except Exception as error:  # the edge to node code, which may be a plug-in's
        raise NodeError(ErrorCode.INTERNAL, f"{node.where}: {type(error).__name__}: {error}") from error


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
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(whole) as whole_limit, asyncio.timeout(idle) as idle_limit:

            def alive() -> None:
                if idle is not None and not idle_limit.expired():
                    idle_limit.reschedule(loop.time() + idle)

            yield alive
    except TimeoutError as error:
        if whole_limit.expired():
            raise NodeTimeoutError(ErrorCode.TIMEOUT, f"not done within {whole:g} s (timeout)") from error
        if idle_limit.expired():
            message = f"no sign of life for {idle:g} s (idle_timeout)"
            raise NodeTimeoutError(ErrorCode.IDLE_TIMEOUT, message) from error
        if isinstance(error, NodeError):
            raise
        raise NodeTimeoutError(ErrorCode.TIMEOUT, str(error) or "the node timed out") from error


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


def _config(node: GraphNode, names: Mapping[str, Any]) -> Any:
    inputs = node.spec.inputs
    values = {key: convert(render(tree, names), inputs[key]) for key, tree in node.config.items()}
    try:
        return node.spec.config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise NodeError(
            ErrorCode.INVALID_CONFIG, f"{node.where}: {at} - {first['msg']} (found {first['input']!r:.80})"
        ) from error


def _checked(node: GraphNode, made: Branch) -> Branch:
    ports = {port: wire for port, wire in node.outputs.items() if port != "error"}
    unknown = made.outputs.keys() - ports.keys()
    missing = ports.keys() - made.outputs.keys()
    if unknown or missing:
        wrong = f"unknown outputs {sorted(unknown)}" if unknown else f"missing outputs {sorted(missing)}"
        raise NodeError(ErrorCode.INVALID_OUTPUT, f"{node.where}: {node.spec.type!r} gave {wrong}")
    for port, wire in ports.items():
        value = made.outputs[port]
        wrong_value = None if value is None else problem(value, wire)
        if wrong_value:
            raise NodeError(ErrorCode.INVALID_OUTPUT, f"{node.where}: output {port!r}: {wrong_value}")
    return made
