"""Runs a workflow from its inputs to its outputs."""

import asyncio
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clusterkit.clock import Clock
from clusterkit.config.suggest import suggest
from clusterkit.http.principal import Principal
from clusterkit.llm.chat import Models
from clusterkit.telemetry.event_log import EventLog
from clusterkit.telemetry.metrics import Metrics
from pipecatapp.nodes.registry import NodeRegistry
from pipecatapp.runs.events import Listener, RunFinished, RunStarted, Speech, ignore
from pipecatapp.runs.hooks import CallHook
from pipecatapp.runs.metrics import RunMetrics
from pipecatapp.runs.records import InvalidInputError, RunFailedError, RunResult, Status, Usage
from pipecatapp.runs.scope import run_scope
from pipecatapp.runs.state import Engine, RunState
from pipecatapp.tools.registry import ToolRegistry
from pipecatapp.workflow.errors import ErrorCode, NodeError
from pipecatapp.workflow.expressions import ExpressionError, render
from pipecatapp.workflow.graph import Graph
from pipecatapp.workflow.types import problem


class WorkflowRunner:
    """Carries out graphs; any number of runs at once."""

    def __init__(
        self,
        *,
        nodes: NodeRegistry,
        tools: ToolRegistry,
        models: Models,
        events: EventLog,
        metrics: Metrics,
        clock: Clock,
        chance: Callable[[], float],
        hooks: Sequence[CallHook],
    ) -> None:
        """`chance` gives random numbers in [0, 1), for the jitter of retries; `hooks` see every call."""
        self._engine = Engine(nodes, tools, models, events, RunMetrics(metrics), clock, chance, hooks)

    async def run(
        self,
        graph: Graph,
        inputs: Mapping[str, Any],
        *,
        run_id: str,
        agent_id: str,
        principal: Principal,
        listener: Listener = ignore,
        timeout: float | None = None,
    ) -> RunResult:
        """Run `graph` for `principal`. Cancelling the caller stops every node.

        `timeout` is in seconds; the workflow's own `budget.wall` holds too. Raises `InvalidInputError`
        before anything runs, `RunFailedError` when a node fails or the time is up.
        """
        values = check_inputs(graph, inputs)
        speech = Speech(listener)
        run = RunState(self._engine, run_id, agent_id, principal, graph.name, graph.source, listener, speech)
        started = self._engine.clock.monotonic()
        listener(RunStarted(run_id, graph.name))
        status, outputs = Status.CANCELLED, {}
        try:
            outputs = await self._within(run, graph, values, timeout)
            status = Status.SUCCEEDED
        except NodeError as error:
            status = Status.TIMED_OUT if isinstance(error, _RunTimeoutError) else Status.FAILED
            result = self._result(run, status, {}, started)
            raise RunFailedError(error.code, error.message, error.node, result) from error
        finally:
            seconds = self._engine.clock.monotonic() - started
            self._engine.metrics.run(graph.name, status, seconds)
            listener(RunFinished(run_id, status, seconds))
        return self._result(run, status, outputs, started)

    async def _within(
        self, run: RunState, graph: Graph, inputs: Mapping[str, Any], timeout: float | None
    ) -> dict[str, Any]:
        limit = min((bound for bound in (timeout, graph.wall) if bound is not None), default=None)
        try:
            async with asyncio.timeout(limit) as bound:
                names = await run_scope(run, graph.scope, ChainMap({"inputs": inputs}), "")
        except TimeoutError as error:
            if not bound.expired():
                raise
            message = f"the run was not done within {limit:g} s"
            raise _RunTimeoutError(ErrorCode.TIMEOUT, message) from error
        try:
            return {name: render(tree, names) for name, tree in graph.outputs.items()}
        except ExpressionError as error:
            raise NodeError(ErrorCode.EXPRESSION, str(error)) from error

    def _result(self, run: RunState, status: Status, outputs: Mapping[str, Any], started: float) -> RunResult:
        seconds = self._engine.clock.monotonic() - started
        return RunResult(
            run.run_id,
            run.workflow,
            status,
            outputs,
            run.records,
            tuple(run.tool_calls),
            seconds,
            sum(run.usages, Usage()),
        )


class _RunTimeoutError(NodeError):
    """The run as a whole took too long."""


def check_inputs(graph: Graph, given: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a run with defaults filled in. Raises `InvalidInputError`."""
    for name in given:
        if name not in graph.inputs:
            raise InvalidInputError(
                f"workflow {graph.name!r} has no input {name!r}{suggest(name, graph.inputs)}"
            )
    values: dict[str, Any] = {}
    for name, declared in graph.inputs.items():
        if name not in given and declared.required:
            raise InvalidInputError(f"workflow {graph.name!r} needs the input {name!r} ({declared.type})")
        values[name] = given.get(name, declared.default)
        wrong = problem(values[name], declared.type) if name in given else None
        if wrong:
            raise InvalidInputError(f"workflow {graph.name!r}, input {name!r}: {wrong}")
    return values
