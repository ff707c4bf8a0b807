"""Waiting for what other tasks and processes do, without guessing how long it takes."""

import asyncio
from collections.abc import Awaitable, Callable

DEADLINE_SECONDS = 30  #: only ends a test that would hang


async def until(is_so: Callable[[], bool]) -> None:
    """Return once `is_so()`."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not is_so():  # noqa: ASYNC110 - nobody tells of a process that changed
            await asyncio.sleep(0)


async def until_async(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Return once `await is_so()`."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await is_so():  # noqa: ASYNC110 - nobody tells of a process that changed
            await asyncio.sleep(0)
