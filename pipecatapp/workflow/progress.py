"""One event's way through the rows of a run: what begins, what ends, what is stopped.

Whatever is about to start stands in one queue, first come, first served. So nodes start in the order of the
file, level by level, and after a failure nothing starts that was not in the queue before it.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pipecatapp.workflow import blocks
from pipecatapp.workflow.changes import Changes, RowOutcomes, Waiting
from pipecatapp.workflow.errors import ErrorCode, Failure, NodeError
from pipecatapp.workflow.expressions import ExpressionError
from pipecatapp.workflow.graph import Graph, GraphNode, Scope, block_of, inside, round_of
from pipecatapp.workflow.journal import BlockRow, NodeRow, NodeStatus, RoundRow, State, transition
from pipecatapp.workflow.names import Names
from pipecatapp.workflow.ports import as_node_error, check_outputs, stand_in, time_limits, values_of, wanted
from pipecatapp.workflow.retry import retry_delay
from pipecatapp.workflow.schedule import Ended, Outcome, Schedule, Step
from pipecatapp.workflow.signals import (
    CloseAttempt,
    Decide,
    Effect,
    StartAttempt,
    StartTimer,
    StopAttempt,
    StopTimer,
    TimerKind,
)
from pipecatapp.workflow.spec import EndedRound


class Progress:
    """Changes rows and gathers effects; what is queued happens in `work_off`."""

    def __init__(self, graph: Graph, state: State, chance: float) -> None:
        """`state` stays as it is."""
        self.graph, self._chance = graph, chance
        self.nodes: Changes[NodeRow] = Changes(state.nodes)
        self.rounds: Changes[RoundRow] = Changes(state.rounds)
        self.effects: list[Effect] = []
        self.run_ended = False
        self._queue: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    def work_off(self) -> None:
        """Do what is queued, and what that leads to."""
        while self._queue:
            act, arguments = self._queue.popleft()
            act(*arguments)

    def names(self, round_: str) -> Names:
        """What expressions in a round can see."""
        return Names(self.graph, self.nodes, self.rounds, round_)

    # Rounds

    def begin_round(self, round_: str, scope: Scope, variables: Mapping[str, Any]) -> None:
        """Begin a pass through the nodes of `scope`."""
        pending = {sources: NodeRow(sources=sources) for sources in set(scope.sources.values())}
        for id_, sources in scope.sources.items():
            self.nodes[inside(round_, id_)] = pending[sources]
        self.rounds[round_] = RoundRow(variables)
        self._follow(round_, self._schedule(round_).begin(), ended=0)

    def stop_round(self, round_: str, failure: Failure | None) -> None:
        """Stop what runs in a round; the first to stop it says why. It ends when all of that has ended."""
        row = self.rounds[round_]
        if row.stopping:
            return
        # Counted as live itself, so that the round ends once, when all of it has been looked at.
        self.rounds[round_] = replace(row, stopping=True, failure=failure, live=row.live + 1)
        for id_, node in self.graph.body(round_).nodes.items():
            path = inside(round_, id_)
            row_status = self.nodes[path].status
            if row_status is NodeStatus.WAITING:
                self._stop_waiting(path)
            elif row_status is NodeStatus.RUNNING and node.body is not None:
                self.stop_block(path, None)
            elif row_status is NodeStatus.RUNNING:
                self.effects.append(StopAttempt(path))
        self._leave(round_)

    def _follow(self, round_: str, step: Step, *, ended: int) -> None:
        for id_ in step.skip:
            self._decide(inside(round_, id_), NodeStatus.SKIPPED)
        self._queue.extend((self._start, (inside(round_, id_),)) for id_ in step.start)
        self._leave(round_, ended - len(step.start))

    def _leave(self, round_: str, nodes: int = 1) -> None:
        if not nodes:
            return
        row = self.rounds[round_]
        row = self.rounds[round_] = replace(row, live=row.live - nodes)
        if row.live:
            return
        if round_:
            self._end_round(round_, row)
        else:
            self.run_ended = True

    def _fail_round(self, round_: str, failure: Failure) -> None:
        self.stop_round(round_, failure)
        self._leave(round_)

    def _stop_waiting(self, path: str) -> None:
        row = self.nodes[path]
        assert row.failure is not None
        self.nodes[path] = replace(row, status=self._status(path, _failed(row.failure)))
        self.effects.append(StopTimer(path, TimerKind.RETRY))
        self._leave(round_of(path))

    def _schedule(self, round_: str) -> Schedule:
        scope = self.graph.body(round_)
        return Schedule(scope, Waiting(self.nodes, round_), RowOutcomes(self.nodes, scope, round_))

    # Nodes

    def attempt(self, path: str) -> None:
        """Begin the next attempt at a node."""
        node, number = self.graph.node(path), self.nodes[path].attempt + 1
        self.nodes[path] = NodeRow(self._status(path, NodeStatus.RUNNING), attempt=number)
        try:
            values = values_of(node, self.names(round_of(path)))
        except ExpressionError as error:
            self.effects.append(StartAttempt(path, number, None))
            self.fail(path, as_node_error(node, error).failure)
            return
        self.effects.append(StartAttempt(path, number, values if node.body is None else None))
        if node.body is not None:
            self._begin_block(path, node, values)

    def succeed(self, path: str, outputs: Mapping[str, Any], leads_to: tuple[str, ...]) -> None:
        """An attempt at a node gave its outputs."""
        if "error" in self.graph.node(path).outputs:
            outputs = {**outputs, "error": None}
        self._end(path, NodeStatus.SUCCEEDED, None, outputs, leads_to)

    def fail(self, path: str, failure: Failure) -> None:
        """An attempt at a node failed: another one follows, others go on without it, or its round fails."""
        node, round_, number = self.graph.node(path), round_of(path), self.nodes[path].attempt
        failure = failure.at(path, number)
        delay = retry_delay(node.common.retry, failure, number, self._chance)
        if delay is not None and not self.rounds[round_].stopping:
            waiting = NodeRow(self._status(path, NodeStatus.WAITING), attempt=number, failure=failure)
            self._record(path, waiting, _failed(failure))
            self.effects.append(StartTimer(path, number, TimerKind.RETRY, delay))
            return
        cause = failure
        try:
            outputs = stand_in(node, self.names(round_), failure)
        except ExpressionError as error:
            outputs, cause = None, as_node_error(node, error).failure
        if outputs is not None:
            self._end(path, _failed(failure), failure, outputs)
            return
        status = self._status(path, _failed(failure))
        self._record(path, NodeRow(status, attempt=number, failure=failure), status)
        self._queue.append((self._fail_round, (round_, cause)))

    def stopped(self, path: str) -> None:
        """An attempt at a node was stopped."""
        if self.rounds[round_of(path)].stopping:
            self._end(path, NodeStatus.CANCELLED, None)
        else:
            where = self.graph.node(path).where
            self.fail(
                path, Failure(ErrorCode.INTERNAL, f"{where}: the node stopped, and nobody had asked it to")
            )

    def _start(self, path: str) -> None:
        node, round_ = self.graph.node(path), round_of(path)
        if self.rounds[round_].stopping:
            self._leave(round_)
            return
        try:
            runs = node.when is None or wanted(node, self.names(round_))
        except NodeError as error:
            self._decide(path, NodeStatus.FAILED)
            self._queue.append((self._fail_round, (round_, error.failure.at(path, 0))))
            return
        if runs:
            self.attempt(path)
            return
        step = self._schedule(round_).settle(node.id, Outcome(Ended.SKIPPED))
        self._decide(path, NodeStatus.SKIPPED)
        self._follow(round_, step, ended=1)

    def _decide(self, path: str, status: NodeStatus) -> None:
        self.nodes[path] = NodeRow(self._status(path, status))
        self.effects.append(Decide(path, status))

    def _end(
        self,
        path: str,
        to: NodeStatus,
        failure: Failure | None,
        outputs: Mapping[str, Any] | None = None,
        leads_to: tuple[str, ...] = (),
    ) -> None:
        node, round_ = self.graph.node(path), round_of(path)
        status, number = self._status(path, to), self.nodes[path].attempt
        step = Step((), ())
        if not self.rounds[round_].stopping:
            lived = failure is None or node.fallback is not None
            outcome = Outcome(Ended.OK if lived else Ended.FAILED, frozenset(leads_to))
            step = self._schedule(round_).settle(node.id, outcome)
        row = NodeRow(status, attempt=number, outputs=outputs, leads_to=leads_to, failure=failure)
        self._record(path, row, status)
        self._follow(round_, step, ended=1)

    def _record(self, path: str, row: NodeRow, status: NodeStatus) -> None:
        """The attempt ended with `status`; `row` is what the node is now."""
        node = self.graph.node(path)
        self.nodes[path] = row
        if node.body is not None:
            self.effects.extend(StopTimer(path, kind) for kind in time_limits(node))
        self.effects.append(CloseAttempt(path, row.attempt, status, row.failure, row.outputs))

    def _status(self, path: str, to: NodeStatus) -> NodeStatus:
        return transition(f"node {path!r}", self.nodes[path].status, to)

    # Blocks

    def stop_block(self, path: str, failure: Failure | None) -> None:
        """Stop the rounds of a block; the first to stop it says why. It ends when all of them have ended."""
        row, block = self._block(path)
        if block.stopping:
            return
        # Counted as open itself, so that the block ends once, when all its rounds have been looked at.
        block = replace(block, stopping=True, failure=failure, open=block.open + 1)
        self.nodes[path] = replace(row, block=block)
        for index in range(block.begun):
            round_ = f"{path}[{index}]"
            if self.rounds[round_].live:
                self.stop_round(round_, None)
        self._leave_block(path)

    def _begin_block(self, path: str, node: GraphNode, values: Mapping[str, Any]) -> None:
        row = self.nodes[path]
        try:
            block = BlockRow(blocks.begin(node, values))
        except NodeError as error:
            self.fail(path, error.failure)
            return
        self.nodes[path] = replace(row, block=block)
        for kind, seconds in time_limits(node).items():
            self.effects.append(StartTimer(path, row.attempt, kind, seconds))
        self._more_rounds(path)

    def _more_rounds(self, path: str) -> None:
        node, (row, block) = self.graph.node(path), self._block(path)
        assert node.body is not None
        failure = None
        while block.open < block.rounds.at_once:
            try:
                variables = blocks.next_round(node, block.rounds, block.begun)
            except NodeError as error:
                failure = error.failure
                break
            if variables is None:
                break
            self.begin_round(f"{path}[{block.begun}]", node.body, variables)
            block = replace(block, begun=block.begun + 1, open=block.open + 1)
        self.nodes[path] = replace(row, block=block)
        if failure is not None:
            self.stop_block(path, failure)
        elif not block.open:
            self._end_block(path, node, block)

    def _end_round(self, round_: str, row: RoundRow) -> None:
        path = block_of(round_)
        node, (node_row, block) = self.graph.node(path), self._block(path)
        if row.stopping:
            self.stop_block(path, row.failure)
        elif not block.stopping:
            index = int(round_[len(path) + 1 : -1])
            try:
                ended = EndedRound(path, index, node.config, self.names(round_))
                rounds, outputs = blocks.after(node, block.rounds, ended)
            except NodeError as error:
                self.stop_block(path, error.failure)
            else:
                self.rounds[round_] = replace(row, outputs=outputs)
                self.nodes[path] = replace(node_row, block=replace(block, rounds=rounds))
        self._leave_block(path)

    def _leave_block(self, path: str) -> None:
        row, block = self._block(path)
        block = replace(block, open=block.open - 1)
        self.nodes[path] = replace(row, block=block)
        if not block.stopping:
            self._more_rounds(path)
        elif not block.open and block.failure is None:
            self._end(path, NodeStatus.CANCELLED, None)
        elif not block.open:
            assert block.failure is not None
            self.fail(path, block.failure)

    def _end_block(self, path: str, node: GraphNode, block: BlockRow) -> None:
        rounds = [f"{path}[{index}]" for index in range(block.begun)]
        try:
            if node.spec.block is not None and node.spec.block.collects:
                outputs = blocks.collected(node, [self.rounds[round_].outputs for round_ in rounds])
            else:
                outputs = blocks.of_last_round(node, self.names(rounds[-1]) if rounds else None)
            check_outputs(node, outputs)
        except NodeError as error:
            self.fail(path, error.failure)
        else:
            self.succeed(path, outputs, ())

    def _block(self, path: str) -> tuple[NodeRow, BlockRow]:
        row = self.nodes[path]
        assert row.block is not None
        return row, row.block


def _failed(failure: Failure) -> NodeStatus:
    return NodeStatus.TIMED_OUT if failure.timed_out else NodeStatus.FAILED
