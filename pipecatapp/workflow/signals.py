"""What the engine is told, and what it wants done."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipecatapp.workflow.errors import Failure
from pipecatapp.workflow.journal import NodeStatus, RunStatus


class TimerKind(StrEnum):
    """What a timer is for."""

    RETRY = "retry"  # the next attempt is due
    TIMEOUT = "timeout"
    IDLE_TIMEOUT = "idle_timeout"


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened. `chance` in [0, 1) is for the jitter of a retry that may follow from it."""

    chance: float


@dataclass(frozen=True, slots=True)
class RunRequested(Event):
    """The run is to begin, with checked inputs. `limit`: seconds that it may take."""

    inputs: Mapping[str, Any]
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class AttemptSucceeded(Event):
    """A node is done. `outputs` by port, checked; `leads_to`: the ids that a switch chose."""

    path: str
    outputs: Mapping[str, Any]
    leads_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AttemptFailed(Event):
    """An attempt at a node failed."""

    path: str
    failure: Failure


@dataclass(frozen=True, slots=True)
class AttemptStopped(Event):
    """An attempt at a node was stopped before it was done."""

    path: str


@dataclass(frozen=True, slots=True)
class TimerFired(Event):
    """A timer's time is over. One that was stopped, or is of an earlier attempt, changes nothing."""

    path: str
    attempt: int
    kind: TimerKind


@dataclass(frozen=True, slots=True)
class RunCancelled(Event):
    """Whoever wanted the run wants it no more. When it is over already, this changes nothing."""


@dataclass(frozen=True, slots=True)
class Decide:
    """Record that a node ends without an attempt: it is skipped, or its `when` could not be told."""

    path: str
    status: NodeStatus


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Begin an attempt at a node, and tell how it ends.

    `values` are the node's configuration, rendered. Without them the attempt is the engine's own work (the
    rounds of a block): it is only to be recorded, until `CloseAttempt`.
    """

    path: str
    attempt: int
    values: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class StopAttempt:
    """Stop an attempt at a node, and tell when it has ended."""

    path: str


@dataclass(frozen=True, slots=True)
class CloseAttempt:
    """Record how an attempt ended. `outputs` are there when other nodes may read them."""

    path: str
    attempt: int
    status: NodeStatus
    failure: Failure | None = None
    outputs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Tell when `seconds` are over. The empty path is the run's."""

    path: str
    attempt: int
    kind: TimerKind
    seconds: float


@dataclass(frozen=True, slots=True)
class StopTimer:
    """A timer is no longer wanted; it may have fired."""

    path: str
    kind: TimerKind


@dataclass(frozen=True, slots=True)
class FinishRun:
    """The run is over: nothing of it runs any more."""

    status: RunStatus
    outputs: Mapping[str, Any]
    failure: Failure | None = None


Effect = Decide | StartAttempt | StopAttempt | CloseAttempt | StartTimer | StopTimer | FinishRun
