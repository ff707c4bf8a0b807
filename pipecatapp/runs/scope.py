"""Runs the nodes of a scope as soon as what they wait for is there, side by side where they may."""

import asyncio
from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from clusterkit.telemetry.actions import ActionType
from pipecatapp.runs.attempt import attempt, first_failure
from pipecatapp.runs.events import NodeFinished, NodeSkipped, NodeStarted
from pipecatapp.runs.records import Attempt, NodeRecord, Status
from pipecatapp.runs.state import RunState
from pipecatapp.workflow.errors import ErrorCode, NodeError
from pipecatapp.workflow.expressions import ExpressionError, render
from pipecatapp.workflow.graph import GraphNode, Scope
from pipecatapp.workflow.retry import retry_delay
from pipecatapp.workflow.schedule import Ended, Outcome, Schedule, Step

Names = ChainMap[str, Any]


async def run_scope(run: RunState, scope: Scope, outer: Names, prefix: str) -> Names:
    """Run every node that is to run; returns what expressions can see afterwards. Raises `NodeError`."""
    names = outer.new_child()
    schedule = Schedule(scope)

    def follow(step: Step, group: asyncio.TaskGroup) -> None:
        for id_ in step.skip:
            names[id_] = _skip(run, scope.nodes[id_], prefix + id_)
        for id_ in step.start:
            group.create_task(one(scope.nodes[id_], group))

    async def one(node: GraphNode, group: asyncio.TaskGroup) -> None:
        outcome, names[node.id] = await _NodeRun(run, node, prefix + node.id, names).carry_out()
        follow(schedule.settle(node.id, outcome), group)

    try:
        async with asyncio.TaskGroup() as group:
            follow(schedule.begin(), group)
    except ExceptionGroup as failures:
        raise first_failure(failures) from None  # the cause keeps its own traceback
    return names


def _skip(run: RunState, node: GraphNode, path: str) -> Mapping[str, Any]:
    record = run.records[path] = NodeRecord(path, node.spec.type)
    record.become(Status.SKIPPED)
    run.listener(NodeSkipped(path, node.spec.type))
    return _nothing(node)


def _nothing(node: GraphNode) -> dict[str, Any]:
    return dict.fromkeys(node.outputs)


class _Body:
    """`Body`: the nodes inside one block of one run."""

    def __init__(self, run: RunState, scope: Scope, outer: Names, path: str) -> None:
        self._run, self._scope, self._outer, self._path = run, scope, outer, path

    async def run(self, index: int, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `Body.run`."""
        outer = self._outer.new_child(dict(variables))
        return await run_scope(self._run, self._scope, outer, f"{self._path}[{index}].")


class _NodeRun:
    """One node of one run, over all its attempts."""

    def __init__(self, run: RunState, node: GraphNode, path: str, names: Names) -> None:
        self._run, self._node, self._path, self._names = run, node, path, names
        self._record = run.records[path] = NodeRecord(path, node.spec.type)

    async def carry_out(self) -> tuple[Outcome, Mapping[str, Any]]:
        """Returns how it ended and its outputs. Raises `NodeError` when the scope must fail."""
        if not self._wanted():
            return Outcome(Ended.SKIPPED), _skip(self._run, self._node, self._path)
        number = 0
        while True:
            number += 1
            try:
                branch = await self._try(number)
            except NodeError as error:
                delay = retry_delay(self._node.common.retry, error, number, self._run.engine.chance())
                if delay is None:
                    return self._give_up(error)
                await self._run.engine.clock.sleep(delay)
                continue
            outputs = dict(branch.outputs)
            if "error" in self._node.outputs:
                outputs["error"] = None
            self._record.outputs = outputs
            return Outcome(Ended.OK, branch.leads_to), outputs

    def _wanted(self) -> bool:
        if self._node.when is None:
            return True
        try:
            value = render(self._node.when, self._names)
        except ExpressionError as error:
            raise self._early(NodeError(ErrorCode.EXPRESSION, str(error))) from error
        if not isinstance(value, bool):
            message = f"{self._node.where}: `when` must be true or false, not {value!r:.80}"
            raise self._early(NodeError(ErrorCode.INVALID_CONFIG, message))
        return value

    def _early(self, error: NodeError) -> NodeError:
        error.node = self._path
        self._record.become(Status.FAILED)
        return error

    async def _try(self, number: int) -> Any:
        run, node = self._run, self._node
        body = _Body(run, node.body, self._names, self._path) if node.body is not None else None
        self._record.become(Status.RUNNING)
        run.listener(NodeStarted(self._path, node.spec.type, number))
        if node.relay_to is not None:
            run.speech.begin(node.relay_to)
        started = run.engine.clock.monotonic()
        status, failure = Status.CANCELLED, None
        try:
            async with run.action(ActionType.PLAN_STEP_EXECUTION, self._path):
                branch = await attempt(run, node, self._path, number, self._names, body)
            status = Status.SUCCEEDED
            return branch
        except NodeError as error:
            if not error.node:
                error.node, error.attempt = self._path, number
            status = Status.TIMED_OUT if isinstance(error, TimeoutError) else Status.FAILED
            failure = error.as_value()
            raise
        finally:
            self._note(Attempt(number, status, run.engine.clock.monotonic() - started, failure))

    def _note(self, tried: Attempt) -> None:
        self._record.become(tried.status)
        self._record.attempts.append(tried)
        type_ = self._node.spec.type
        self._run.engine.metrics.node(type_, tried.status, tried.seconds)
        self._run.listener(NodeFinished(self._path, type_, tried.status, tried.seconds, tried.error))

    def _give_up(self, error: NodeError) -> tuple[Outcome, Mapping[str, Any]]:
        node = self._node
        outputs = {**_nothing(node), "error": error.as_value()}
        if node.fallback is not None:
            names = self._names.new_child({"error": error.as_value()})
            try:
                outputs |= render(node.fallback, names)
            except ExpressionError as wrong:
                raise NodeError(ErrorCode.EXPRESSION, str(wrong)) from wrong
            self._record.outputs = outputs
            return Outcome(Ended.OK), outputs
        if node.common.on_error == "fail":
            raise error
        self._record.outputs = outputs
        return Outcome(Ended.FAILED), outputs
