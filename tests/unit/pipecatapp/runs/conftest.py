"""A runner with a real event log, scripted models and node types made for tests."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any, ClassVar

import pytest

from clusterkit.clock import Clock, SystemClock
from clusterkit.http.principal import LOCAL_PERSON
from clusterkit.llm.chat import ModelReply, ToolRequest
from clusterkit.storage.database import Database
from clusterkit.storage.urls import sqlite_url
from clusterkit.telemetry.actions import EventQuery
from clusterkit.telemetry.event_log import EventLog, metadata
from clusterkit.telemetry.metrics import Metrics
from clusterkit.testing import FakeRegistry
from pipecatapp.__main__ import all_tools, call_hooks, open_memory
from pipecatapp.memory.tables import metadata as memory
from pipecatapp.nodes.base import Node, NodeConfig
from pipecatapp.nodes.registry import BUILT_IN, NodeRegistry
from pipecatapp.runs.runner import WorkflowRunner
from pipecatapp.sentences.load import load_sentences
from pipecatapp.tools.base import Risk, ToolArguments, ToolError, ToolResult
from pipecatapp.tools.registry import ToolRegistry
from pipecatapp.workflow.errors import ErrorCode, NodeError
from pipecatapp.workflow.load import load_workflow


class WorkNode(Node[Any]):
    """Does what its configuration says."""

    class Config(NodeConfig):
        value: Any = None
        fail: str | None = None  #: an error code
        times: int = 1_000  #: how often it fails before it succeeds
        hang: bool = False
        meet: int = 0  #: wait until so many nodes are here at once
        crash: bool = False

    type: ClassVar[str] = "work"
    outputs: ClassVar[dict[str, str]] = {"value": "any"}

    def __init__(self) -> None:
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.here = 0
        self.met = asyncio.Event()
        self.hanging = asyncio.Event()

    async def run(self, config: Any, context: Any) -> dict[str, Any]:
        self.started.append(context.path)
        if config.crash:
            raise KeyError("oops")
        if config.fail and context.attempt <= config.times:
            raise NodeError(ErrorCode(config.fail), f"failing as told, attempt {context.attempt}")
        if config.meet:
            self.here += 1
            if self.here == config.meet:
                self.met.set()
            await self.met.wait()
        if config.hang:
            self.hanging.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.stopped.append(context.path)
        return {"value": config.value}


class FailingTool:
    """Always fails."""

    name = "broken"
    aliases = ()
    description = "Fails."
    risk = Risk.READ
    Arguments = ToolArguments

    async def run(self, arguments: Any, context: Any) -> ToolResult:
        raise ToolError("it is broken")


class WritingTool(FailingTool):
    """Would change something."""

    name = "writer"
    risk = Risk.WRITE


@dataclass
class ScriptedModels:
    """`Models` in memory: gives the replies in order; an exception is raised."""

    replies: list[Any] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    hang_after: int | None = None
    hanging: asyncio.Event = field(default_factory=asyncio.Event)

    async def chat(self, call: Any, on_text: Any) -> ModelReply:
        self.asked.append(call)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        for number, piece in enumerate(reply.text.split("|")):
            if number == self.hang_after:
                self.hanging.set()
                await asyncio.Event().wait()
            await on_text(piece)
        return ModelReply(
            reply.text.replace("|", ""),
            reply.tool_requests,
            reply.finish_reason,
            11,
            len(reply.text.split("|")),
        )


def says(text: str, *calls: tuple[str, str]) -> ModelReply:
    requests = [ToolRequest(f"c{index}", name, arguments) for index, (name, arguments) in enumerate(calls)]
    return ModelReply(text, requests, "tool_calls" if calls else "stop", None, None)


@dataclass
class Kit:
    """Everything a test of the runner needs."""

    log: EventLog
    clock: Clock
    models: Any
    database: Database
    metrics: Metrics = field(default_factory=Metrics)
    heard: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.nodes = NodeRegistry((*BUILT_IN, WorkNode))
        failing: list[Any] = [FailingTool(), WritingTool()]
        mine = all_tools(FakeRegistry(), Path("/"), open_memory(self.database, self.clock), "the Millers")
        self.tools = ToolRegistry([*mine, *failing])
        self.work: Any = self.nodes.get("work")
        self.runner = WorkflowRunner(
            nodes=self.nodes, tools=self.tools, models=self.models, events=self.log, metrics=self.metrics,
            clock=self.clock, chance=lambda: 0.5, hooks=call_hooks(self.metrics, self.tools),
            grammars=load_sentences(Path("/nowhere"), self.tools).grammars, zone=None,
        )  # fmt: skip

    def load(self, nodes: str, head: str = "") -> Any:
        indented = "".join(f"  {line}\n" for line in dedent(nodes).strip().splitlines())
        text = f"schema: 1\nname: demo\n{head}\nnodes:\n{indented}"
        return load_workflow(text, "demo.yaml", self.nodes.specs)

    async def run(self, nodes: str, head: str = "", inputs: Any = None, **more: Any) -> Any:
        return await self.run_graph(self.load(nodes, head), inputs or {}, **more)

    async def run_graph(self, graph: Any, inputs: Any, **more: Any) -> Any:
        return await self.runner.run(
            graph, inputs, run_id="run-1", agent_id="tester", principal=LOCAL_PERSON,
            listener=self.heard.append, **more
        )  # fmt: skip

    async def events(self) -> Sequence[Any]:
        await self.log.flush()
        return [event for event in await self.log.query(EventQuery(limit=1000)) if event.phase == "outcome"]


@pytest.fixture
async def make_kit(tmp_path: Any) -> AsyncIterator[Callable[..., Kit]]:
    numbers = iter(range(1_000_000))
    async with Database(sqlite_url(tmp_path / "events.db")) as database:
        metadata.create_all(database.engine)
        memory.create_all(database.engine)
        logs: list[EventLog] = []

        def make(clock: Clock | None = None, models: Any = None) -> Kit:
            used = clock or SystemClock()
            logs.append(EventLog(database, used, lambda: f"e{next(numbers)}"))
            return Kit(logs[-1], used, models or ScriptedModels(), database)

        yield make
        for log in logs:
            await log.flush()


@pytest.fixture
def kit(make_kit: Callable[..., Kit]) -> Kit:
    return make_kit()


@pytest.fixture
def script() -> Callable[..., ModelReply]:
    return says
