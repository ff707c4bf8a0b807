"""Carries out what the engine decides: its effects become tasks, and what comes of those becomes events."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from clusterkit.telemetry.actions import ActionType
from pipecatapp.runs.attempt import attempt
from pipecatapp.runs.events import NodeFinished, NodeSkipped, NodeStarted
from pipecatapp.runs.records import Attempt, NodeRecord
from pipecatapp.runs.state import RunState
from pipecatapp.workflow.engine import advance
from pipecatapp.workflow.errors import Failure, NodeError
from pipecatapp.workflow.graph import Graph, GraphNode
from pipecatapp.workflow.journal import NodeStatus, RunStatus, State
from pipecatapp.workflow.signals import (
    AttemptFailed,
    AttemptStopped,
    AttemptSucceeded,
    CloseAttempt,
    Decide,
    Effect,
    Event,
    FinishRun,
    RunCancelled,
    RunRequested,
    StartAttempt,
    StartTimer,
    StopAttempt,
    StopTimer,
    TimerFired,
    TimerKind,
)


class Dispatch:
    """One run of one graph."""

    def __init__(self, run: RunState, graph: Graph) -> None:
        """Nothing starts yet."""
        self._run, self._graph, self._clock = run, graph, run.engine.clock
        self._state, self._end = State(), FinishRun(RunStatus.CANCELLED, {})
        self._over = asyncio.Event()
        self._started: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._open: dict[str, asyncio.Future[None]] = {}  #: attempts that the engine itself carries out
        self._timers: dict[tuple[str, TimerKind], asyncio.Task[None]] = {}
        self._errors: dict[str, NodeError] = {}

    async def carry_out(self, inputs: Mapping[str, Any], limit: float | None) -> FinishRun:
        """Run it to its end. Cancelling the caller stops every node, and waits until all have ended."""
        cancelled = None
        async with asyncio.TaskGroup() as self._group:
            self._tell(RunRequested, inputs, limit)
            while not self._over.is_set():
                try:
                    await self._over.wait()
                except asyncio.CancelledError as error:
                    cancelled = error
                    self._tell(RunCancelled)
        if cancelled is not None:
            raise cancelled
        return self._end

    def error(self, failure: Failure) -> NodeError:
        """The exception behind a failure, as it was raised if a node raised it."""
        raised = self._errors.get(failure.node)
        return raised if raised and raised.message == failure.message else failure.as_error()

    def _tell(self, event: Callable[..., Event], *about: Any) -> None:
        """Something happened, in the middle of a task: what follows from it begins before the task ends."""
        try:
            happened = event(self._run.engine.chance(), *about)
            self._state, effects = advance(self._graph, self._state, happened)
            for effect in effects:
                self._perform(effect)
        except Exception:
            self._over.set()  # a mistake: the group stops the tasks, and nobody would be told of the end
            raise

    def _perform(self, effect: Effect) -> None:
        match effect:
            case StartAttempt():
                self._start(effect)
            case CloseAttempt():
                self._close(effect)
            case Decide():
                self._decide(effect)
            case StopAttempt():
                # Not before the task's first step, so that what was begun is also recorded.
                asyncio.get_running_loop().call_soon(self._tasks[effect.path].cancel)
            case StartTimer():
                task = self._group.create_task(self._sleep(effect))
                self._timers[effect.path, effect.kind] = task
            case StopTimer():
                self._timers.pop((effect.path, effect.kind)).cancel()
            case FinishRun():
                self._end = effect
                self._over.set()

    def _decide(self, effect: Decide) -> None:
        type_ = self._graph.node(effect.path).spec.type
        self._run.records[effect.path] = NodeRecord(effect.path, type_, effect.status)
        if effect.status is NodeStatus.SKIPPED:
            self._run.listener(NodeSkipped(effect.path, type_))

    def _start(self, effect: StartAttempt) -> None:
        path, node = effect.path, self._graph.node(effect.path)
        if effect.attempt == 1:
            self._run.records[path] = NodeRecord(path, node.spec.type, NodeStatus.RUNNING)
        self._run.records[path].status = NodeStatus.RUNNING
        self._run.listener(NodeStarted(path, node.spec.type, effect.attempt))
        if node.relay_to is not None:
            self._run.speech.begin(node.relay_to)
        self._started[path] = self._clock.monotonic()
        if effect.values is None:
            self._open[path] = asyncio.get_running_loop().create_future()
            self._group.create_task(self._hold(path, self._open[path]))
        else:
            work = self._carry_out(node, path, effect.attempt, effect.values)
            self._tasks[path] = self._group.create_task(work)

    async def _carry_out(self, node: GraphNode, path: str, number: int, values: Mapping[str, Any]) -> None:
        try:
            async with self._run.action(ActionType.PLAN_STEP_EXECUTION, path):
                branch = await attempt(self._run, node, path, number, values)
        except NodeError as error:
            if node.common.on_error == "fail":  # otherwise nobody asks for it, and it holds much in memory
                self._errors[path] = error
            self._tell(AttemptFailed, path, error.failure)
        except asyncio.CancelledError:
            self._tell(AttemptStopped, path)
            raise
        else:
            self._tell(AttemptSucceeded, path, branch.outputs, tuple(sorted(branch.leads_to)))

    async def _hold(self, path: str, ended: asyncio.Future[None]) -> None:
        with suppress(NodeError):  # it comes from the engine, which has seen to it
            async with self._run.action(ActionType.PLAN_STEP_EXECUTION, path):
                await ended

    async def _sleep(self, timer: StartTimer) -> None:
        await self._clock.sleep(timer.seconds)
        self._tell(TimerFired, timer.path, timer.attempt, timer.kind)

    def _close(self, effect: CloseAttempt) -> None:
        path, node, failure = effect.path, self._graph.node(effect.path), effect.failure
        self._tasks.pop(path, None)
        if (ended := self._open.pop(path, None)) is not None:
            if effect.status is NodeStatus.CANCELLED:
                ended.cancel()
            elif failure is not None:
                ended.set_exception(self.error(failure))
            else:
                ended.set_result(None)
        seconds = self._clock.monotonic() - self._started.pop(path)
        error = None if failure is None else failure.as_value()
        record = self._run.records[path]
        record.status, record.outputs = effect.status, effect.outputs or {}
        record.attempts.append(Attempt(effect.attempt, effect.status, seconds, error))
        self._run.engine.metrics.node(node.spec.type, effect.status, seconds)
        self._run.listener(NodeFinished(path, node.spec.type, effect.status, seconds, error))
