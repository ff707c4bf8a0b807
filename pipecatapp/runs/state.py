"""What the parts of one run share."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

from clusterkit.clock import Clock
from clusterkit.http.principal import Principal
from clusterkit.llm.chat import Models
from clusterkit.telemetry.actions import ActionType
from clusterkit.telemetry.event_log import Action, EventLog
from pipecatapp.nodes.registry import NodeRegistry
from pipecatapp.runs.events import Listener, Speech
from pipecatapp.runs.hooks import CallHook
from pipecatapp.runs.metrics import RunMetrics
from pipecatapp.runs.records import NodeRecord, ToolCallRecord, Usage
from pipecatapp.sentences.grammar import Grammar
from pipecatapp.tools.registry import ToolRegistry


@dataclass(frozen=True)
class Engine:
    """What all runs share."""

    nodes: NodeRegistry
    tools: ToolRegistry
    grammars: Mapping[str, Grammar]  #: by language
    zone: tzinfo | None  #: the household's; None for this machine's own
    models: Models
    events: EventLog
    metrics: RunMetrics
    clock: Clock
    chance: Callable[[], float]  #: a random number in [0, 1)
    hooks: Sequence[CallHook]  #: around every model and tool call, in this order


@dataclass(frozen=True)
class RunState:
    """One run in progress."""

    engine: Engine
    run_id: str
    agent_id: str
    principal: Principal  #: who asked for it
    workflow: str
    file: str  #: where the workflow was read from
    listener: Listener
    speech: Speech
    records: dict[str, NodeRecord] = field(default_factory=dict)
    tool_calls: list[ToolCallRecord] = field(default_factory=list)
    usages: list[Usage] = field(default_factory=list)  #: one entry for each try at a model

    def action(
        self,
        action_type: ActionType,
        path: str,
        *,
        tool_name: str | None = None,
        tool_parameters: Mapping[str, Any] | None = None,
        about: tuple[str, ...] = (),
    ) -> AbstractAsyncContextManager[Action]:
        """Record what the node at `path` does; `about` names what else it concerns."""
        return self.engine.events.action(
            task_id=self.run_id,
            agent_id=self.agent_id,
            principal=str(self.principal),
            action_type=action_type,
            tool_name=tool_name,
            tool_parameters=tool_parameters,
            files=(self.file,),
            entities=(f"{self.workflow}#{path}", *about),
        )
