"""A whole gateway in the test's own event loop: real sockets, a fake registry, written-out upstreams."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from structlog.testing import capture_logs

from clusterkit.config.catalogue import SERVICE_PREFIX
from clusterkit.ports.registry import Instance
from clusterkit.telemetry.tracing import TraceMiddleware
from clusterkit.testing import FakeClock, FakeRegistry
from moe_gateway.__main__ import gateway_app, make_pool, make_view
from moe_gateway.experts import ExpertView
from moe_gateway.settings import GatewaySettings
from tests.servers.asgi_server import serving
from tests.servers.raw_upstream import Behaviour, RawUpstream, raw_upstream

CHAT = "/v1/chat/completions"


@dataclass
class RunningGateway:
    """A running gateway and everything around it."""

    url: str
    settings: GatewaySettings
    registry: FakeRegistry
    view: ExpertView
    client: httpx.AsyncClient
    logs: Sequence[Mapping[str, Any]]
    stack: AsyncExitStack

    async def announce(
        self,
        service: str,
        port: int,
        *,
        healthy: bool = True,
        detail: str = "",
        model: str = "",
        waits: bool = False,
    ) -> str:
        """Put an instance into the registry, under the paths an expert of that name has; gives its id."""
        number = len(await self.registry.instances())
        instance = Instance(
            service=service,
            id=f"{service}-{number}",
            address="127.0.0.1",
            port=port,
            base_path=f"/experts/{service.removeprefix(SERVICE_PREFIX)}",
        )
        await self.registry.register(instance, ttl=10)
        meta = {"model": model, "waits": str(waits).lower()}
        await self.registry.heartbeat(instance.id, healthy=healthy, detail=detail, meta=meta)
        await self.view.refresh()
        return instance.id

    async def upstream(self, service: str, behave: Behaviour) -> RawUpstream:
        """Run an upstream and announce it as a healthy instance of `service`."""
        upstream = await self.stack.enter_async_context(raw_upstream(behave))
        await self.announce(service, upstream.port)
        return upstream

    async def first_logged(self) -> Mapping[str, Any]:
        """The log line of the first chat request, once it is written."""
        for _ in range(10_000):
            for line in self.logs:
                if line["event"] == "chat_request":
                    return line
            await asyncio.sleep(0)
        raise AssertionError("no chat request was logged")

    async def chat(self, body: Mapping[str, Any] | bytes, **headers: str) -> httpx.Response:
        """Post a chat request; bytes go as they are."""
        if isinstance(body, bytes):
            return await self.client.post(CHAT, content=body, headers=headers)
        return await self.client.post(CHAT, json=body, headers=headers)


@asynccontextmanager
async def running_gateway(settings: GatewaySettings) -> AsyncIterator[RunningGateway]:
    """Run a gateway with `settings`; it listens on a free port whatever they say."""
    async with AsyncExitStack() as stack:
        registry, clock, pool = FakeRegistry(), FakeClock(), make_pool(settings)
        view = make_view(settings, registry, clock)
        stack.push_async_callback(pool.close)
        logs = stack.enter_context(capture_logs())
        app = TraceMiddleware(gateway_app(settings, view, pool, clock))
        url = await stack.enter_async_context(serving(app))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=10))
        yield RunningGateway(url, settings, registry, view, client, logs, stack)
