"""`python -m pipecatapp`: wires the agent and runs it until SIGTERM."""

import asyncio
import random
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import structlog
from starlette.types import ASGIApp

from clusterkit.clock import Clock, SystemClock
from clusterkit.cluster.open_registry import open_registry
from clusterkit.config.settings import load_settings
from clusterkit.http.health import HealthProbe
from clusterkit.http.process import run
from clusterkit.http.serve import serve
from clusterkit.http.tokens import service_token
from clusterkit.llm.chat import Models
from clusterkit.llm.gateway import GatewayClient
from clusterkit.llm.openai_models import OpenAiModels
from clusterkit.ports.registry import Registry
from clusterkit.storage.database import Database, migrate
from clusterkit.telemetry.event_log import EventLog
from clusterkit.telemetry.logs import configure_logging
from clusterkit.telemetry.metrics import Metrics
from pipecatapp.memory.alarms import Alarms
from pipecatapp.memory.facts import Facts
from pipecatapp.memory.notes import Notes
from pipecatapp.memory.shopping import ShoppingList
from pipecatapp.nodes.registry import NodeRegistry
from pipecatapp.runs.approval import ApprovalHook
from pipecatapp.runs.bookkeeping import ActionLogHook, ToolCallsHook, ToolMetricsHook, UsageHook
from pipecatapp.runs.hooks import CallHook
from pipecatapp.runs.library import WorkflowLibrary
from pipecatapp.runs.runner import WorkflowRunner
from pipecatapp.sentences.load import Sentences, load_sentences
from pipecatapp.settings import GATEWAY_TOKEN, SERVICE, PipecatappSettings
from pipecatapp.tools.base import Tool
from pipecatapp.tools.calculator import Calculator
from pipecatapp.tools.clock import ClockTool
from pipecatapp.tools.convert import Convert
from pipecatapp.tools.introduction import Introduction
from pipecatapp.tools.memory import Forget, Recall, Remember
from pipecatapp.tools.notes import AddNote, DeleteNote, ListNotes
from pipecatapp.tools.registry import ToolRegistry
from pipecatapp.tools.shopping import ListAdd, ListRemove, ListShow
from pipecatapp.tools.system_status import SystemStatus
from pipecatapp.tools.timers import CancelTimer, ListTimers, SetReminder, SetTimer
from pipecatapp.turns.about import about_household
from pipecatapp.turns.conversation import Conversation
from pipecatapp.turns.inbox import Inbox, callback_rule
from pipecatapp.turns.main_model import look_up_main_model
from pipecatapp.turns.ringing import Ringing
from pipecatapp.turns.turns import Limits, Turns
from pipecatapp.web.app import make_app
from pipecatapp.web.callbacks import deliver_over
from pipecatapp.web.chat import chat_routes
from pipecatapp.web.feeds import feed_routes
from pipecatapp.web.health import agent_health
from pipecatapp.web.messages import message_routes
from pipecatapp.web.network import agent_guard

MIGRATIONS = Path(__file__).parent / "migrations"

log = structlog.get_logger()


@dataclass(frozen=True)
class Memory:
    """What the household asked to keep."""

    facts: Facts
    notes: Notes
    shopping: ShoppingList
    alarms: Alarms


def all_tools(registry: Registry, disk: Path, memory: Memory, household: str) -> tuple[Tool, ...]:
    """The tools of the agent.

    `disk` is a path on the file system whose free space is told, `household` a name that may be empty.
    """
    tools: tuple[Tool, ...] = (
        SystemStatus(registry, disk),
        ClockTool(),
        Calculator(),
        Convert(),
        SetTimer(memory.alarms),
        SetReminder(memory.alarms),
        ListTimers(memory.alarms),
        CancelTimer(memory.alarms),
        Remember(memory.facts),
        Recall(memory.facts),
        Forget(memory.facts),
        AddNote(memory.notes),
        ListNotes(memory.notes),
        DeleteNote(memory.notes),
        ListAdd(memory.shopping),
        ListRemove(memory.shopping),
        ListShow(memory.shopping),
    )
    return (*tools, Introduction(household, [tool.name for tool in tools]))


def call_hooks(
    metrics: Metrics, tools: ToolRegistry, policies: Sequence[CallHook] = ()
) -> Sequence[CallHook]:
    """What looks at every model and tool call, from the outside in; a policy check is a line here."""
    return (
        ToolCallsHook(),
        ToolMetricsHook(metrics, tools),
        ActionLogHook(),  # what a hook behind this one refuses is in the log of actions
        ApprovalHook(tools),
        *policies,
        UsageHook(),  # the nearest to the call: what was spent counts, whatever the others make of it
    )


def new_id() -> str:
    """An id for a run or event, unique for ever."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Base:
    """What every part of the agent stands on."""

    settings: PipecatappSettings
    registry: Registry
    clock: Clock
    metrics: Metrics


@asynccontextmanager
async def open_storage(base: Base) -> AsyncIterator[tuple[EventLog, Memory]]:
    """The event log and the memory on their database. Raises `StorageError`."""
    url = base.settings.effective_database_url
    base.settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    await asyncio.to_thread(migrate, url, MIGRATIONS)
    async with Database(url) as database:
        events = EventLog(database, base.clock, new_id)
        log.info("opened", interrupted_before=await events.close_interrupted())
        try:
            yield events, open_memory(database, base.clock)
        finally:
            await events.flush()


def open_memory(database: Database, clock: Clock) -> Memory:
    """The memory on a database that has its tables."""
    return Memory(
        Facts(database, clock), Notes(database, clock), ShoppingList(database), Alarms(database, clock)
    )


@asynccontextmanager
async def open_models(base: Base) -> AsyncIterator[Models]:
    """The models behind the gateway. Raises `TokenError`."""
    token = service_token(base.settings, GATEWAY_TOKEN)
    async with openai.DefaultAsyncHttpxClient(trust_env=False) as http:
        yield OpenAiModels(GatewayClient(base.registry, base.settings.gateway_service, token, http).connect)


def load_nodes(settings: PipecatappSettings) -> NodeRegistry:
    """The node types, plug-ins included; a broken plug-in is logged and left out."""
    nodes = NodeRegistry()
    if settings.plugins_dir is not None:
        added = nodes.load_plugins(settings.plugins_dir)
        log.info("plugins", node_types=added)
    for plugin in nodes.broken:
        log.error("broken_plugin", file=plugin.file, problem=plugin.problem)
    return nodes


@dataclass(frozen=True)
class Runs:
    """What carries out workflows."""

    nodes: NodeRegistry
    library: WorkflowLibrary
    tools: ToolRegistry
    sentences: Sentences
    runner: WorkflowRunner


def make_runs(
    base: Base, events: EventLog, memory: Memory, models: Models, policies: Sequence[CallHook]
) -> Runs:
    """The engine with its node types, workflows, tools and sentences. Blocks on the disk.

    Raises `ConfigFileError` for sentences that come with Hearth; a person's own broken file is left out.
    """
    nodes = load_nodes(base.settings)
    tools = ToolRegistry(all_tools(base.registry, base.settings.home, memory, base.settings.household))
    sentences = load_sentences(base.settings.sentences_dir, tools)
    for error in sentences.broken:
        log.error("broken_sentences", problem=str(error))
    runner = WorkflowRunner(
        nodes=nodes,
        tools=tools,
        models=models,
        events=events,
        metrics=base.metrics,
        clock=base.clock,
        chance=random.Random().random,  # its own: nobody else in the process draws from it
        hooks=call_hooks(base.metrics, tools, policies),
        grammars=sentences.grammars,
        zone=base.settings.zone,
    )
    return Runs(nodes, WorkflowLibrary(base.settings.workflows_dir, nodes.specs), tools, sentences, runner)


def make_turns(base: Base, runs: Runs) -> Turns:
    """Turns of the agent's workflow, within the limits of the settings."""
    settings = base.settings
    return Turns(
        runner=runs.runner,
        library=runs.library,
        workflow=settings.workflow,
        limits=Limits(
            running=settings.max_concurrent_agents,
            waiting=settings.max_waiting_turns,
            seconds=settings.default_timeout_seconds,
        ),
        new_id=new_id,
        model=lambda: look_up_main_model(base.registry, settings.main_expert_service),
        tools=runs.tools.names,
        about=lambda: about_household(settings.household, base.clock.now(), settings.zone, runs.tools.names),
    )


@asynccontextmanager
async def open_inbox(base: Base, turns: Turns, conversation: Conversation) -> AsyncIterator[Inbox]:
    """The inbox, with a client of its own for the answers."""
    async with httpx.AsyncClient(trust_env=False) as http:
        inbox = Inbox(
            turns=turns,
            conversation=conversation,
            deliver=deliver_over(http, base.clock),
            may_call=callback_rule(base.registry),
        )
        try:
            yield inbox
        finally:
            await inbox.close()


@asynccontextmanager
async def ringing(base: Base, memory: Memory, conversation: Conversation) -> AsyncIterator[None]:
    """Timers and reminders ring while the block runs."""
    rings = Ringing(memory.alarms, conversation, base.clock, base.settings.zone)
    task = asyncio.create_task(rings.run(), name="ringing")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


@dataclass(frozen=True)
class Agent:
    """A wired agent, ready to be served."""

    app: ASGIApp
    turns: Turns
    health: HealthProbe
    at_shutdown: Callable[[], None]


@asynccontextmanager
async def open_agent(
    settings: PipecatappSettings, registry: Registry, clock: Clock, policies: Sequence[CallHook] = ()
) -> AsyncIterator[Agent]:
    """The agent with everything it needs open; `policies` see every call beside Hearth's own hooks.

    Raises `HearthError` when it cannot start.
    """
    base, conversation = Base(settings, registry, clock, Metrics()), Conversation()
    async with open_storage(base) as (events, memory), open_models(base) as models:
        runs = await asyncio.to_thread(make_runs, base, events, memory, models, policies)
        turns = make_turns(base, runs)
        async with open_inbox(base, turns, conversation) as inbox, ringing(base, memory, conversation):
            health = agent_health(
                settings,
                registry,
                library=runs.library,
                nodes=runs.nodes,
                sentences=runs.sentences,
                events=events,
            )
            routers = [
                chat_routes(turns, settings.model_name, clock),
                message_routes(inbox, conversation),
                feed_routes(events, runs.nodes),
            ]
            app = make_app(SERVICE, health=health, metrics=base.metrics, routers=routers)
            token = service_token(settings, SERVICE)
            guarded = agent_guard(app, token, beyond_loopback=not settings.is_loopback)
            yield Agent(guarded, turns, health, conversation.close)


async def main() -> None:
    """Serve until SIGTERM. Raises `HearthError` when the agent cannot start."""
    settings = load_settings(PipecatappSettings)
    configure_logging(SERVICE, settings.effective_log_level, settings.log_format, settings.log_file)
    clock = SystemClock()
    async with (
        open_registry(settings, clock) as registry,
        open_agent(settings, registry, clock) as agent,
    ):
        log.info("starting", workflow=settings.workflow)
        await serve(
            agent.app,
            name=SERVICE,
            settings=settings,
            registry=registry,
            health=agent.health,
            at_shutdown=agent.at_shutdown,
            # Beyond loopback every caller is asked for the token, by whatever name it is reached;
            # `local_person_way` looks at the name of those that are not.
            authenticated=True,
            allowed_hosts=() if settings.is_loopback else ("*",),
        )


if __name__ == "__main__":
    sys.exit(run(main))
