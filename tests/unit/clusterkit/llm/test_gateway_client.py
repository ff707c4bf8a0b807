"""Which gateway the agent's next call goes to."""

from dataclasses import replace

import openai
import pytest

from clusterkit.llm.chat import ModelError
from clusterkit.llm.gateway import GatewayClient
from clusterkit.ports.registry import Instance
from clusterkit.testing import FakeRegistry

GATEWAY = Instance(service="moe-gateway", id="g1", address="192.0.2.1", port=1)


async def up(registry: FakeRegistry, instance: Instance, *, healthy: bool = True) -> None:
    await registry.register(instance, ttl=9)
    await registry.heartbeat(instance.id, healthy=healthy, detail="" if healthy else "no expert")


async def urls(client: GatewayClient, count: int) -> list[str]:
    return [str((await client.connect()).base_url) for _ in range(count)]


@pytest.mark.req("CLU-04")
async def test_of_several_healthy_gateways_another_one_is_chosen_each_time() -> None:
    registry = FakeRegistry()
    await up(registry, GATEWAY)
    await up(registry, replace(GATEWAY, id="g2", address="192.0.2.2"))
    await up(registry, replace(GATEWAY, id="g3", address="192.0.2.3"), healthy=False)
    async with openai.DefaultAsyncHttpxClient(trust_env=False) as http:
        client = GatewayClient(registry, "moe-gateway", "token", http)
        chosen = await urls(client, 4)
        assert set(chosen) == {"http://192.0.2.1:1/v1/", "http://192.0.2.2:1/v1/"}
        assert chosen[:2] == chosen[2:]
        await registry.heartbeat("g1", healthy=False)
        assert set(await urls(client, 3)) == {"http://192.0.2.2:1/v1/"}
        await registry.heartbeat("g2", healthy=False)
        with pytest.raises(ModelError, match="moe-gateway is not healthy"):
            await client.connect()
