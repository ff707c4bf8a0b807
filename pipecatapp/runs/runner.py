"""Runs a workflow from its inputs to its outputs."""

from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from typing import Any

from clusterkit.clock import Clock
from clusterkit.config.suggest import suggest
from clusterkit.http.principal import Principal
from clusterkit.llm.chat import Models
from clusterkit.telemetry.event_log import EventLog
from clusterkit.telemetry.metrics import Metrics
from pipecatapp.nodes.registry import NodeRegistry
from pipecatapp.runs.attempt import first_failure
from pipecatapp.runs.dispatch import Dispatch
from pipecatapp.runs.events import Listener, RunFinished, RunStarted, Speech, ignore
from pipecatapp.runs.hooks import CallHook
from pipecatapp.runs.metrics import RunMetrics
from pipecatapp.runs.records import InvalidInputError, RunFailedError, RunResult, Usage
from pipecatapp.runs.state import Engine, RunState
from pipecatapp.sentences.grammar import Grammar
from pipecatapp.tools.registry import ToolRegistry
from pipecatapp.workflow.graph import Graph
from pipecatapp.workflow.journal import RunStatus
from pipecatapp.workflow.signals import FinishRun
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
        grammars: Mapping[str, Grammar],
        zone: tzinfo | None,
    ) -> None:
        """`chance` gives random numbers in [0, 1), for the jitter of retries; `hooks` see every call.

        `grammars` are the sentences of exact commands, by language; `zone` is the household's time zone,
        None for this machine's own.
        """
        self._engine = Engine(
            nodes=nodes,
            tools=tools,
            grammars=grammars,
            zone=zone,
            models=models,
            events=events,
            metrics=RunMetrics(metrics),
            clock=clock,
            chance=chance,
            hooks=hooks,
        )

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
        limit = min((bound for bound in (timeout, graph.wall) if bound is not None), default=None)
        clock, dispatch = self._engine.clock, Dispatch(run, graph)
        started, status = clock.monotonic(), RunStatus.CANCELLED
        listener(RunStarted(run_id, graph.name))
        try:
            end = await _carried_out(dispatch, values, limit)
            status = end.status
        finally:
            seconds = clock.monotonic() - started
            self._engine.metrics.run(graph.name, status, seconds)
            listener(RunFinished(run_id, status, seconds))
        result = RunResult(
            run_id,
            graph.name,
            status,
            end.outputs,
            run.records,
            tuple(run.tool_calls),
            seconds,
            sum(run.usages, Usage()),
        )
        if (failure := end.failure) is not None:
            error = RunFailedError(failure.code, failure.message, failure.node, result)
            raise error from dispatch.error(failure)
        return result


async def _carried_out(dispatch: Dispatch, inputs: Mapping[str, Any], limit: float | None) -> FinishRun:
    try:
        return await dispatch.carry_out(inputs, limit)
    except ExceptionGroup as group:  # a mistake, in the engine or in a listener
        failure = first_failure(group).failure
        return FinishRun(RunStatus.FAILED, {}, failure)


def check_inputs(graph: Graph, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a run with defaults filled in. Raises `InvalidInputError`."""
    for name in inputs:
        if name not in graph.inputs:
            raise InvalidInputError(
                f"workflow {graph.name!r} has no input {name!r}{suggest(name, graph.inputs)}"
            )
    values: dict[str, Any] = {}
    for name, declared in graph.inputs.items():
        if name not in inputs and declared.required:
            raise InvalidInputError(f"workflow {graph.name!r} needs the input {name!r} ({declared.type})")
        values[name] = inputs.get(name, declared.default)
        wrong = problem(values[name], declared.type) if name in inputs else None
        if wrong:
            raise InvalidInputError(f"workflow {graph.name!r}, input {name!r}: {wrong}")
    return values
