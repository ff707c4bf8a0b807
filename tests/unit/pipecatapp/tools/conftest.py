"""Tools on a migrated database of either kind, at a moment that the test sets."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from clusterkit.storage.database import Database, migrate
from clusterkit.testing import FakeClock
from pipecatapp.__main__ import MIGRATIONS, Memory, open_memory
from pipecatapp.tools.base import ToolContext, ToolResult
from pipecatapp.tools.registry import check_arguments

BERLIN = ZoneInfo("Europe/Berlin")
FRIDAY_AT_TEN = datetime(2026, 3, 27, 9, tzinfo=UTC)  #: 10:00 in Berlin, two days before summer time


@dataclass
class Home:
    """What the tools of a household share."""

    memory: Memory
    clock: FakeClock
    database: Database
    zone: ZoneInfo = field(default=BERLIN)

    async def call(self, tool: Any, **arguments: Any) -> ToolResult:
        """Use a tool as a run does."""
        result: ToolResult = await tool.run(
            check_arguments(tool, arguments), ToolContext(self.clock, self.zone)
        )
        return result

    async def say(self, tool: Any, **arguments: Any) -> str:
        """What a tool says."""
        return (await self.call(tool, **arguments)).text


@pytest.fixture
async def home(database_url: str) -> AsyncIterator[Home]:
    migrate(database_url, MIGRATIONS)
    clock = FakeClock(FRIDAY_AT_TEN)
    async with Database(database_url) as database:
        yield Home(open_memory(database, clock), clock, database)


Say = Callable[..., Awaitable[str]]
