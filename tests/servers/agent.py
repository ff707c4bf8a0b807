"""A whole agent in the test's own event loop: real sockets, a fake registry, written-out models."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import orjson
from structlog.testing import capture_logs

from clusterkit.clock import SystemClock
from clusterkit.ports.registry import Instance
from clusterkit.telemetry.tracing import TraceMiddleware
from clusterkit.testing import FakeRegistry, ScriptedAnswer, scripted_app
from pipecatapp.__main__ import Agent, open_agent
from pipecatapp.runs.hooks import CallHook
from pipecatapp.settings import PipecatappSettings
from pipecatapp.web.callbacks import ATTEMPTS, BACK_OFF_SECONDS
from tests.servers.asgi_server import serving
from tests.servers.raw_upstream import Behaviour, Exchange, RawUpstream, raw_upstream

CHAT = "/v1/chat/completions"
WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"

Value = TypeVar("Value")


#: Between the tries to bring an answer to its receiver, in seconds.
PAUSES = tuple(BACK_OFF_SECONDS * 2**attempt for attempt in range(1, ATTEMPTS))


class HastyClock(SystemClock):
    """The machine's clock, but the pauses between tries to bring an answer take no time."""

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        await super().sleep(0 if seconds in PAUSES else seconds)


@dataclass
class RunningAgent:
    """A running agent and everything around it."""

    url: str
    agent: Agent
    settings: PipecatappSettings
    registry: FakeRegistry
    client: httpx.AsyncClient  #: presents the agent's token
    logs: Sequence[Mapping[str, Any]]
    stack: AsyncExitStack

    @property
    def token(self) -> str:
        return (self.settings.secrets_dir / "pipecatapp.token").read_text().strip()

    async def announce(self, port: int, *, healthy: bool = True, detail: str = "") -> None:
        """Put a gateway into the registry, in place of the one before."""
        for gone in await self.registry.instances(self.settings.gateway_service):
            await self.registry.deregister(gone.id)
        instance = Instance(
            service=self.settings.gateway_service, id=f"gateway-{port}", address="127.0.0.1", port=port
        )
        await self.registry.register(instance, ttl=10)
        await self.registry.heartbeat(instance.id, healthy=healthy, detail=detail)

    async def says(self, *turns: ScriptedAnswer) -> None:
        """Let a model that speaks OpenAI stand in for the gateway."""
        url = await self.stack.enter_async_context(serving(scripted_app(turns)))
        await self.announce(int(url.rpartition(":")[2]))

    async def behaves(self, behave: Behaviour) -> RawUpstream:
        """Let an upstream of which every byte is written out stand in for the gateway."""
        upstream = await self.stack.enter_async_context(raw_upstream(behave))
        await self.announce(upstream.port)
        return upstream

    async def announce_expert(self, **meta: str) -> None:
        """Put the main expert into the registry, with what it tells about its model."""
        expert = Instance(service="expert-main", id="main-1", address="127.0.0.1", port=1)
        await self.registry.register(expert, ttl=10)
        await self.registry.heartbeat("main-1", healthy=True, meta=meta)

    async def ask(self, text: str, **more: Any) -> httpx.Response:
        """Post a chat request and read the whole answer."""
        return await self.client.post(CHAT, json=question(text, **more))

    async def logged(self, event: str) -> Mapping[str, Any]:
        """The first log line about `event`, once it is written."""
        return await soon(lambda: next((line for line in self.logs if line["event"] == event), None))


def question(text: str, **more: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": "hearth", "messages": [{"role": "user", "content": text}], **more}


def events_of(body: str) -> list[Any]:
    """The events of a stream; `[DONE]` stays text."""
    parts = [part.removeprefix("data: ") for part in body.split("\n\n") if part]
    return [part if part == "[DONE]" else orjson.loads(part) for part in parts]


def text_of(events: Sequence[Any]) -> str:
    """What a stream says, all together."""
    choices = [event["choices"][0] for event in events if event != "[DONE]" and event.get("choices")]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


async def soon(find: Callable[[], Value | None]) -> Value:
    """What `find` gives once it gives something."""
    for _ in range(1000):
        if (found := find()) is not None:
            return found
        await asyncio.sleep(0.005)
    raise AssertionError("it never came")


@dataclass
class Silence:
    """A behaviour: says `pieces` as a stream and then nothing more, until the other side hangs up."""

    pieces: Sequence[bytes] = ()
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, exchange: Exchange) -> None:
        if self.pieces:
            await exchange.head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
            for piece in self.pieces:
                await exchange.chunk(piece)
        self.asked.set()
        await exchange.until_closed()
        self.left.set()


async def within(seconds: float, awaited: Awaitable[Any]) -> Any:
    """The result of `awaited`, which must be there in so many seconds."""
    async with asyncio.timeout(seconds):
        return await awaited


@asynccontextmanager
async def running_agent(
    settings: PipecatappSettings, policies: Sequence[CallHook] = ()
) -> AsyncIterator[RunningAgent]:
    """Run an agent with `settings`; it listens on a free port whatever they say."""
    async with AsyncExitStack() as stack:
        registry = FakeRegistry()
        logs = stack.enter_context(capture_logs())
        agent = await stack.enter_async_context(open_agent(settings, registry, HastyClock(), policies))
        url = await stack.enter_async_context(serving(TraceMiddleware(agent.app)))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=20))
        made = RunningAgent(url, agent, settings, registry, client, logs, stack)
        client.headers["authorization"] = f"Bearer {made.token}"
        yield made
