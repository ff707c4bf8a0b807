"""The engine: told what happened in a run, it says what is to be done next.

Nothing here waits, reads a clock, draws lots or starts anything. `advance` is a function of its arguments:
the state it is given stays as it is, the same events give the same effects, and the cost of an event grows
with what it touches, not with the run. The state is plain data, so a run can be written down after any event
and go on elsewhere.
"""

from dataclasses import replace
from typing import Any

from pipecatapp.workflow.errors import ErrorCode, Failure
from pipecatapp.workflow.expressions import ExpressionError, render
from pipecatapp.workflow.graph import Graph
from pipecatapp.workflow.journal import NodeStatus, RunRow, RunStatus, State, transition
from pipecatapp.workflow.ports import limit_reached, time_limits
from pipecatapp.workflow.progress import Progress
from pipecatapp.workflow.signals import (
    AttemptFailed,
    AttemptStopped,
    AttemptSucceeded,
    Effect,
    Event,
    FinishRun,
    RunCancelled,
    RunRequested,
    StartTimer,
    StopTimer,
    TimerFired,
    TimerKind,
)


def advance(graph: Graph, state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
    """The state after an event, and what is to be done, in this order.

    Raises `IllegalTransitionError` for an event that cannot happen in this state.
    """
    progress, run = Progress(graph, state, event.chance), state.run
    match event:
        case RunRequested():
            run = _begin(progress, run, event)
        case AttemptSucceeded():
            progress.succeed(event.path, event.outputs, event.leads_to)
        case AttemptFailed():
            progress.fail(event.path, event.failure)
        case AttemptStopped():
            progress.stopped(event.path)
        case TimerFired(path="") if run.status is RunStatus.RUNNING:
            message = f"the run was not done within {run.limit:g} s"
            progress.stop_round("", Failure(ErrorCode.TIMEOUT, message, timed_out=True))
        case TimerFired() if event.path:
            _time_over(progress, event)
        case RunCancelled() if run.status is RunStatus.RUNNING:
            progress.stop_round("", None)
    progress.work_off()
    if progress.run_ended:
        run = _finish(progress, run)
    return State(run, progress.nodes.rows(), progress.rounds.rows()), tuple(progress.effects)


def _begin(progress: Progress, run: RunRow, event: RunRequested) -> RunRow:
    run = RunRow(transition("the run", run.status, RunStatus.RUNNING), event.limit)
    if event.limit is not None:
        progress.effects.append(StartTimer("", 0, TimerKind.TIMEOUT, event.limit))
    progress.begin_round("", progress.graph.scope, {"inputs": event.inputs})
    return run


def _time_over(progress: Progress, event: TimerFired) -> None:
    row = progress.nodes[event.path]
    if row.attempt != event.attempt:
        return
    if event.kind is not TimerKind.RETRY and row.status is NodeStatus.RUNNING:
        seconds = time_limits(progress.graph.node(event.path))[event.kind]
        progress.stop_block(event.path, limit_reached(event.kind, seconds).failure)
    elif event.kind is TimerKind.RETRY and row.status is NodeStatus.WAITING:
        progress.attempt(event.path)


def _finish(progress: Progress, run: RunRow) -> RunRow:
    whole = progress.rounds[""]
    outputs: dict[str, Any] = {}
    status, failure = RunStatus.CANCELLED, whole.failure
    if not whole.stopping:
        try:
            names = progress.names("")
            outputs = {name: render(tree, names) for name, tree in progress.graph.outputs.items()}
            status = RunStatus.SUCCEEDED
        except ExpressionError as error:
            failure = Failure(ErrorCode.EXPRESSION, str(error))
    if failure is not None:
        # The limit of the run itself has no node; one of a node in it is a failure of the run.
        status = RunStatus.TIMED_OUT if failure.timed_out and not failure.node else RunStatus.FAILED
    if run.limit is not None:
        progress.effects.append(StopTimer("", TimerKind.TIMEOUT))
    progress.effects.append(FinishRun(status, outputs, failure))
    return replace(run, status=transition("the run", run.status, status))
