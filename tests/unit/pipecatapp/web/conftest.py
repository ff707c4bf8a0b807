"""Agents for the tests of this folder; they run on uvloop, as the service does."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from pipecatapp.settings import PipecatappSettings
from tests.servers.agent import WORKFLOWS, RunningAgent, running_agent

MakeAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def make_agent(tmp_path: Path) -> MakeAgent:
    """Runs an agent with further settings."""

    def make(**more: Any) -> AbstractAsyncContextManager[RunningAgent]:
        return running_agent(PipecatappSettings(**{"home": tmp_path, "workflows_dir": WORKFLOWS, **more}))

    return make


@pytest.fixture
async def agent(make_agent: MakeAgent) -> AsyncIterator[RunningAgent]:
    async with make_agent() as running:
        yield running
