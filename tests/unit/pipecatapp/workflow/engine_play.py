"""Moves a run by hand: tells the engine what happened, one event at a time, and keeps what it asked for."""

from textwrap import dedent
from typing import Any, ClassVar

from pydantic import TypeAdapter

from pipecatapp.nodes.base import Node, NodeConfig
from pipecatapp.nodes.registry import BUILT_IN, NodeRegistry
from pipecatapp.workflow.engine import advance
from pipecatapp.workflow.errors import ErrorCode, Failure
from pipecatapp.workflow.journal import NodeRow, RoundRow, Rows, RunRow, State
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
    TimerKind,
)


class WorkNode(Node[Any]):
    """Stands for any node that does something; the engine never runs it."""

    class Config(NodeConfig):
        value: Any = None

    type: ClassVar[str] = "work"
    outputs: ClassVar[dict[str, str]] = {"value": "any"}

    async def run(self, config: Any, context: Any) -> dict[str, Any]:
        raise AssertionError("the engine runs nothing")


SPECS = NodeRegistry((*BUILT_IN, WorkNode)).specs
NODES, ROUNDS = TypeAdapter(dict[str, NodeRow]), TypeAdapter(dict[str, RoundRow])
RUN = TypeAdapter(RunRow)


def load(nodes: str, head: str = "") -> Any:
    indented = "".join(f"  {line}\n" for line in dedent(nodes).strip().splitlines())
    return load_workflow(f"schema: 1\nname: demo\n{head}\nnodes:\n{indented}", "demo.yaml", SPECS)


def dumped(state: State) -> tuple[bytes, bytes, bytes]:
    """A state as JSON."""
    return RUN.dump_json(state.run), NODES.dump_json(dict(state.nodes)), ROUNDS.dump_json(dict(state.rounds))


def restored(texts: tuple[bytes, bytes, bytes]) -> State:
    run, nodes, rounds = texts
    return State(RUN.validate_json(run), Rows(NODES.validate_json(nodes)), Rows(ROUNDS.validate_json(rounds)))


class Play:
    """A run. Every method that tells something returns what the engine asked for, in short."""

    def __init__(self, nodes: str, head: str = "") -> None:
        self.graph, self.state = load(nodes, head), State()
        self.effects: list[Any] = []

    def tell(self, event: Any) -> list[str]:
        self.state, effects = advance(self.graph, self.state, event)
        self.effects = list(effects)
        return [shown(effect) for effect in effects]

    def begin(self, limit: float | None = None, **inputs: Any) -> list[str]:
        return self.tell(RunRequested(0.5, inputs, limit))

    def done(self, path: str, value: Any = None, leads_to: tuple[str, ...] = ()) -> list[str]:
        outputs = {"value": value} if self.graph.node(path).spec.type == "work" else {"case": value}
        return self.tell(AttemptSucceeded(0.5, path, outputs, leads_to))

    def failed(self, path: str, code: ErrorCode = ErrorCode.NETWORK, chance: float = 0.5) -> list[str]:
        return self.tell(AttemptFailed(chance, path, Failure(code, "gone")))

    def stopped(self, path: str) -> list[str]:
        return self.tell(AttemptStopped(0.5, path))

    def rings(self, path: str, kind: TimerKind, attempt: int = 1) -> list[str]:
        return self.tell(TimerFired(0.5, path, attempt, kind))

    def cancelled(self) -> list[str]:
        return self.tell(RunCancelled(0.5))

    def values(self, path: str) -> Any:
        """The configuration that the last event started `path` with."""
        return next(e.values for e in self.effects if isinstance(e, StartAttempt) and e.path == path)


def shown(effect: Any) -> str:
    match effect:
        case StartAttempt():
            return f"start {effect.path}" + (f" again ({effect.attempt})" if effect.attempt > 1 else "")
        case StopAttempt():
            return f"stop {effect.path}"
        case CloseAttempt():
            return f"{effect.path} {effect.status}"
        case Decide():
            return f"{effect.path} {effect.status}"
        case StartTimer():
            return f"{effect.kind} of {effect.path or 'the run'} in {effect.seconds:g} s"
        case StopTimer():
            return f"no {effect.kind} of {effect.path or 'the run'}"
        case FinishRun():
            return f"run {effect.status}"
    raise AssertionError(effect)
