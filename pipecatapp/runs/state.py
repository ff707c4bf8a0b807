"""What the parts of one run share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from clusterkit.clock import Clock
from clusterkit.event_log import EventLog
from pipecatapp.nodes.base import Models
from pipecatapp.nodes.registry import NodeRegistry
from pipecatapp.runs.events import Listener, Speech
from pipecatapp.runs.metrics import RunMetrics
from pipecatapp.runs.records import NodeRecord, ToolCallRecord
from pipecatapp.tools.registry import ToolRegistry


@dataclass(frozen=True)
class Engine:
    """What all runs share."""

    nodes: NodeRegistry
    tools: ToolRegistry
    models: Models
    events: EventLog
    metrics: RunMetrics
    clock: Clock
    chance: Callable[[], float]  #: a random number in [0, 1)


@dataclass(frozen=True)
class RunState:
    """One run in progress."""

    engine: Engine
    run_id: str
    agent_id: str
    workflow: str
    listener: Listener
    speech: Speech
    records: dict[str, NodeRecord] = field(default_factory=dict)
    tool_calls: list[ToolCallRecord] = field(default_factory=list)

    def entity(self, path: str) -> str:
        """How the event log names a node."""
        return f"{self.workflow}#{path}"
