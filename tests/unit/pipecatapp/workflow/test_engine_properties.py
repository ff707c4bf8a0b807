"""What holds for every run, whatever the graph, the outcomes and the order in which things happen."""

import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clusterkit.errors import ConfigFileError
from pipecatapp.workflow.engine import advance
from pipecatapp.workflow.errors import ErrorCode, Failure
from pipecatapp.workflow.graph import Graph, block_of, inside, round_of
from pipecatapp.workflow.journal import NodeStatus, RunStatus, State
from pipecatapp.workflow.load import load_workflow
from pipecatapp.workflow.signals import (
    AttemptFailed,
    AttemptStopped,
    AttemptSucceeded,
    CloseAttempt,
    Decide,
    FinishRun,
    RunCancelled,
    RunRequested,
    StartAttempt,
    StartTimer,
    StopAttempt,
    StopTimer,
    TimerFired,
)
from tests.unit.pipecatapp.workflow.engine_play import SPECS, dumped, restored
from tests.unit.pipecatapp.workflow.random_graphs import workflow_texts


class World:
    """Stands for everything outside the engine: nodes end in any order, each as its path and `seed` say."""

    def __init__(self, graph: Graph, seed: int, failures: int, between: Callable[[State], State]) -> None:
        self.graph, self.seed, self.failures, self.between = graph, seed, failures, between
        self.state = State()
        self.running: dict[str, int] = {}
        self.timers: dict[tuple[str, Any], int] = {}
        self.trace: list[Any] = []  #: events, each followed by the tuple of its effects

    def tell(self, event: Any) -> None:
        self.state, effects = advance(self.graph, self.between(self.state), event)
        self.trace += [event, effects]
        for effect in effects:
            match effect:
                case StartAttempt() if effect.values is not None:
                    self.running[effect.path] = effect.attempt
                case CloseAttempt():
                    self.running.pop(effect.path, None)
                case StartTimer():
                    self.timers[effect.path, effect.kind] = effect.attempt
                case StopTimer():
                    self.timers.pop((effect.path, effect.kind), None)

    def effects(self, kind: type) -> list[Any]:
        return [effect for effects in self.trace[1::2] for effect in effects if isinstance(effect, kind)]

    def happen(self, choice: int, *, limits: bool) -> None:
        """One of the things that may happen next."""
        stopping = {effect.path for effect in self.effects(StopAttempt)} & self.running.keys()
        rings = [timer for timer in self.timers if limits or timer[1] == "retry"]
        ways: list[Any] = [*sorted(self.running), *sorted(rings)]
        way = ways[choice % len(ways)]
        if isinstance(way, tuple):
            self.tell(TimerFired(0.5, way[0], self.timers.pop(way), way[1]))
        elif way in stopping and choice % 3:
            self.tell(AttemptStopped(0.5, way))
        else:
            self.tell(self.end_of(way, self.running[way]))

    def end_of(self, path: str, attempt: int) -> Any:
        lot = zlib.crc32(f"{self.seed}/{path}/{attempt}".encode())
        if lot % 10 < self.failures:
            code = ErrorCode.NETWORK if lot % 2 else ErrorCode.TOOL_FAILED
            return AttemptFailed(0.5, path, Failure(code, f"lot {lot}"))
        node = self.graph.node(path)
        if node.spec.type == "switch":
            ways = [*sorted(node.config["cases"]), "default"]
            case = ways[lot % len(ways)]
            leads_to = node.config["default"] if case == "default" else node.config["cases"][case]
            return AttemptSucceeded(0.5, path, {"case": case}, tuple(sorted(leads_to)))
        return AttemptSucceeded(0.5, path, {"value": lot % 4})


def carried_out(
    text: str,
    seed: int,
    failures: int,
    choices: list[int],
    *,
    between: Callable[[State], State] = lambda state: state,
    limits: bool = True,
    cancel_after: int | None = None,
) -> World:
    """A whole run of a random graph; those that the loader refuses are no example."""
    try:
        graph = load_workflow(text, "demo.yaml", SPECS)
    except ConfigFileError:
        assume(False)
        raise
    world = World(graph, seed, failures, between)
    world.tell(RunRequested(0.5, {"n": seed % 4}))
    count = 0
    while world.state.run.status is RunStatus.RUNNING:
        if count == cancel_after:
            world.tell(RunCancelled(0.5))
        else:
            world.happen(choices[count % len(choices)], limits=limits)
        count += 1
    return world


SEEDS = st.integers(0, 10_000)
CHOICES = st.lists(st.integers(0, 1_000), min_size=1, max_size=12)
UNHURRIED = settings(deadline=None, max_examples=40)  # the machine may be busy
ENDED = {NodeStatus.SUCCEEDED, NodeStatus.FAILED, NodeStatus.TIMED_OUT, NodeStatus.SKIPPED}


@UNHURRIED
@given(workflow_texts(), SEEDS, st.integers(0, 4), CHOICES, st.none() | st.integers(0, 8))
def test_a_state_that_was_written_and_read_before_every_event_gives_the_same_run(
    text: str, seed: int, failures: int, choices: list[int], cancel_after: int | None
) -> None:
    plain = carried_out(text, seed, failures, choices, cancel_after=cancel_after)

    def between(state: State) -> State:
        return restored(dumped(state))

    written = carried_out(text, seed, failures, choices, between=between, cancel_after=cancel_after)
    assert written.trace == plain.trace
    assert dumped(written.state) == dumped(plain.state)


@UNHURRIED
@given(workflow_texts(), SEEDS, st.integers(0, 4), CHOICES, st.none() | st.integers(0, 8))
def test_every_attempt_ends_once_and_a_run_is_over_when_nothing_of_it_runs(
    text: str, seed: int, failures: int, choices: list[int], cancel_after: int | None
) -> None:
    world = carried_out(text, seed, failures, choices, cancel_after=cancel_after)
    begun = Counter((effect.path, effect.attempt) for effect in world.effects(StartAttempt))
    ended = Counter((effect.path, effect.attempt) for effect in world.effects(CloseAttempt))
    assert begun == ended
    (finish,) = world.effects(FinishRun)
    assert world.trace[-1][-1] is finish
    assert not world.running
    assert not world.timers
    live = {NodeStatus.RUNNING, NodeStatus.WAITING}
    assert [path for path, row in world.state.nodes.items() if row.status in live] == []


@UNHURRIED
@given(workflow_texts(), SEEDS, st.integers(0, 4), CHOICES)
def test_when_a_run_succeeds_every_node_of_every_finished_round_is_decided_exactly_once(
    text: str, seed: int, failures: int, choices: list[int]
) -> None:
    world = carried_out(text, seed, failures, choices)
    assume(world.state.run.status is RunStatus.SUCCEEDED)
    nodes, rounds = world.state.nodes, world.state.rounds
    for path, row in rounds.items():
        if path and nodes[block_of(path)].status is not NodeStatus.SUCCEEDED:
            continue
        assert (row.live, row.stopping) == (0, False)
        assert {nodes[inside(path, id_)].status for id_ in world.graph.body(path).nodes} <= ENDED
    skipped = Counter(effect.path for effect in world.effects(Decide) if not round_of(effect.path))
    assert all(count == 1 for count in skipped.values())
    tried = {effect.path for effect in world.effects(StartAttempt)}
    assert not tried & skipped.keys()


@UNHURRIED
@given(workflow_texts(), SEEDS, CHOICES, CHOICES)
def test_the_order_in_which_nodes_end_does_not_change_how_a_run_without_failures_goes(
    text: str, seed: int, one: list[int], other: list[int]
) -> None:
    first, second = (carried_out(text, seed, 0, order, limits=False) for order in (one, other))
    # A loop that reaches its bound fails too, and whom a failure stops depends on who was quicker.
    assume({effect.status for effect in first.effects(CloseAttempt)} <= {NodeStatus.SUCCEEDED})
    assume(first.state.run.status is RunStatus.SUCCEEDED)
    assert dict(first.state.nodes) == dict(second.state.nodes)
    assert first.state.run == second.state.run
