"""Gateways for the tests of this folder; they run on uvloop, as the service does."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from moe_gateway.settings import GatewaySettings
from tests.catalogues import catalogue_of
from tests.servers.gateway import RunningGateway, running_gateway


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def settings(tmp_path: Path) -> GatewaySettings:
    return GatewaySettings(home=tmp_path)


@pytest.fixture
async def gateway(settings: GatewaySettings) -> AsyncIterator[RunningGateway]:
    async with running_gateway(settings) as running:
        yield running


@pytest.fixture
def models_file(tmp_path: Path) -> Path:
    """A catalogue with the experts main and coding."""
    toy = {"name": "toy", "url": "file:///toy.gguf", "filename": "toy.gguf", "memory_mb": 100}
    path = tmp_path / "models.yaml"
    path.write_text(json.dumps(catalogue_of({"main": [toy], "coding": [toy]})))  # JSON is YAML
    return path
