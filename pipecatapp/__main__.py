"""`python -m pipecatapp`: wires the agent and runs it until SIGTERM."""

import asyncio
import random
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
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
from clusterkit.http.tokens import BearerGuard, service_token
from clusterkit.llm.gateway import GatewayClient
from clusterkit.llm.openai_models import OpenAiModels
from clusterkit.ports.registry import Registry
from clusterkit.storage.database import Database, migrate
from clusterkit.telemetry.event_log import EventLog
from clusterkit.telemetry.logs import configure_logging
from clusterkit.telemetry.metrics import Metrics
from pipecatapp.nodes.registry import NodeRegistry
from pipecatapp.runs.library import WorkflowLibrary
from pipecatapp.runs.runner import WorkflowRunner
from pipecatapp.settings import GATEWAY_TOKEN, SERVICE, PipecatappSettings
from pipecatapp.tools.base import Tool
from pipecatapp.tools.calculator import Calculator
from pipecatapp.tools.clock import ClockTool
from pipecatapp.tools.registry import ToolRegistry
from pipecatapp.tools.system_status import SystemStatus
from pipecatapp.web.app import make_app
from pipecatapp.web.chat import chat_routes
from pipecatapp.web.feeds import feed_routes
from pipecatapp.web.health import agent_health
from pipecatapp.web.main_model import look_up_main_model
from pipecatapp.web.messages import Inbox, Room, callback_rule, message_routes
from pipecatapp.web.network import needs_token
from pipecatapp.web.turns import Turns

MIGRATIONS = Path(__file__).parent / "migrations"

log = structlog.get_logger()


def make_runner(
    settings: PipecatappSettings,
    *,
    registry: Registry,
    tools: ToolRegistry,
    http: openai.DefaultAsyncHttpxClient,
    nodes: NodeRegistry,
    events: EventLog,
    metrics: Metrics,
    clock: Clock,
) -> WorkflowRunner:
    """The engine with its tools and its way to the models."""
    token = service_token(settings, GATEWAY_TOKEN)
    gateway = GatewayClient(registry, settings.gateway_service, token, http)
    return WorkflowRunner(
        nodes=nodes,
        tools=tools,
        models=OpenAiModels(gateway.connect),
        events=events,
        metrics=metrics,
        clock=clock,
        chance=random.random,
    )


def all_tools(registry: Registry, disk: Path) -> tuple[Tool, ...]:
    """The tools of the agent; `disk` is a path on the file system whose free space is told."""
    return (SystemStatus(registry, disk), ClockTool(), Calculator())


def new_id() -> str:
    """An id for a run or event, unique for ever."""
    return uuid.uuid4().hex


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
class Agent:
    """A wired agent, ready to be served."""

    app: ASGIApp
    turns: Turns
    health: HealthProbe
    at_shutdown: Callable[[], None]


@asynccontextmanager
async def open_agent(settings: PipecatappSettings, registry: Registry, clock: Clock) -> AsyncIterator[Agent]:
    """The agent with everything it needs open. Raises `HearthError` when it cannot start."""
    metrics, room = Metrics(), Room()
    nodes = load_nodes(settings)
    library = WorkflowLibrary(settings.workflows_dir, nodes.specs)
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    await asyncio.to_thread(migrate, settings.effective_database_url, MIGRATIONS)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(settings.effective_database_url))
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        to_gateway = await stack.enter_async_context(openai.DefaultAsyncHttpxClient(trust_env=False))
        events = EventLog(database, clock, new_id)
        log.info("opened", interrupted_before=await events.close_interrupted())
        stack.push_async_callback(events.flush)
        tools = ToolRegistry(all_tools(registry, settings.home))
        runner = make_runner(
            settings,
            registry=registry,
            tools=tools,
            http=to_gateway,
            nodes=nodes,
            events=events,
            metrics=metrics,
            clock=clock,
        )
        turns = Turns(
            runner=runner,
            library=library,
            workflow=settings.workflow,
            running=settings.max_concurrent_agents,
            waiting=settings.max_waiting_turns,
            timeout=settings.default_timeout_seconds,
            new_id=new_id,
            model=lambda: look_up_main_model(registry, settings.main_expert_service),
            tools=tools.names,
        )
        inbox = Inbox(turns=turns, room=room, clock=clock, http=http, may_call=callback_rule(registry))
        stack.push_async_callback(inbox.close)
        health = agent_health(
            registry=registry,
            library=library,
            workflow=settings.workflow,
            gateway_service=settings.gateway_service,
            main_expert_service=settings.main_expert_service,
            events=events,
            nodes=nodes,
            environment=settings.environment,
        )
        app = make_app(
            SERVICE,
            health=health,
            metrics=metrics,
            routers=[
                chat_routes(turns, settings.model_name, clock),
                message_routes(inbox, room),
                feed_routes(events, nodes),
            ],
        )
        guarded = BearerGuard(
            app,
            service_token(settings, SERVICE),
            paths=("/v1/",),
            beyond=None if settings.is_loopback else needs_token,
        )
        yield Agent(guarded, turns, health, room.close)


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
            # `needs_token` looks at the name of those that are not.
            authenticated=True,
            allowed_hosts=() if settings.is_loopback else ("*",),
        )


if __name__ == "__main__":
    sys.exit(run(main))
