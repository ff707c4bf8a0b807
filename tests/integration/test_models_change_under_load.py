"""A household that goes on asking while its models come, change and go: the real model, the whole way."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.houses import House
from tests.integration.test_llama_expert import FALLBACK, bundled_model
from tests.integration.waiting import eventually

REQUESTS_PER_SECOND = 5
CHANGE_SECONDS = 90
MEMORY_FOR_ONE_MB = 900  #: a reserve of 512, and room for one of two models that take 200 to 300


@dataclass
class Traffic:
    """Streamed chats at an even pace, and what became of each."""

    url: str
    models: list[str] = field(default_factory=list)  #: which model gave each whole answer
    failures: list[str] = field(default_factory=list)

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until told to stop; then wait for the answers to what was asked."""
        # A connection each: one that is kept alive may be closed for idleness just as it is used again.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with (
            httpx.AsyncClient(timeout=120, limits=limits) as client,
            asyncio.TaskGroup() as group,
        ):
            while not stop.is_set():
                group.create_task(self._ask(client))
                await asyncio.wait({asyncio.ensure_future(stop.wait())}, timeout=1 / REQUESTS_PER_SECOND)

    async def _ask(self, client: httpx.AsyncClient) -> None:
        question = {
            "model": "main",
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_tokens": 2,
            "stream": True,
        }
        try:
            answer = await client.post(f"{self.url}/v1/chat/completions", json=question)
        except httpx.HTTPError as error:
            self.failures.append(repr(error))
            return
        lines = [line for line in answer.text.splitlines() if line.startswith("data: ")]
        if answer.status_code != 200 or not lines or lines[-1] != "data: [DONE]" or "error" in answer.text:
            self.failures.append(f"{answer.status_code}: {answer.text}")
            return
        events: list[Any] = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
        self.models.append(events[0]["model"])


@contextmanager
def traffic(house: House) -> Iterator[Traffic]:
    """Traffic to the gateway for as long as the block runs; all is answered at its end."""
    made = Traffic(house.gateway)
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def go_on() -> None:
        stop = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), stop))
        await made.run(stop)

    thread = threading.Thread(target=lambda: asyncio.run(go_on()))
    thread.start()
    loop, stop = started.result()
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def served_times(house: House, model: str) -> int:
    """How often the expert main was given a server of that model."""
    served = (line for line in house.log("llama_expert") if line["event"] == "expert_served")
    return sum((line["expert"], line["model"]) == ("main", model) for line in served)


@pytest.mark.req("BEY-18")
@pytest.mark.timeout(400)
@pytest.mark.parametrize("memory", ["for both", "for one"])
def test_no_request_is_refused_or_fails_while_a_model_is_added_changed_and_removed(
    house: House, tmp_path: Path, memory: str
) -> None:
    if memory == "for one":
        house.extra = {"LLAMA_EXPERT_EXPERTS": "main", "LLAMA_EXPERT_MEMORY_MB": str(MEMORY_FOR_ONE_MB)}
    own, whole = tmp_path / "own.gguf", bundled_model().read_bytes()
    assert house.hearth("up", "--detach").returncode == 0
    with traffic(house) as seen:
        eventually(lambda: len(seen.models) > REQUESTS_PER_SECOND, within=CHANGE_SECONDS)

        own.write_bytes(whole)
        added = house.hearth("model", "add", str(own))
        assert added.returncode == 0, added.stderr
        eventually(lambda: served_times(house, "own") == 1, within=CHANGE_SECONDS)
        eventually(lambda: seen.models.count("own") > REQUESTS_PER_SECOND, within=CHANGE_SECONDS)

        own.write_bytes(whole + bytes(64))
        changed = house.hearth("model", "add", str(own))
        assert changed.returncode == 0, changed.stderr
        eventually(lambda: served_times(house, "own") == 2, within=CHANGE_SECONDS)

        removed = house.hearth("model", "remove", "own")
        assert removed.returncode == 0, removed.stderr
        eventually(lambda: served_times(house, FALLBACK["name"]) == 2, within=CHANGE_SECONDS)
        count = len(seen.models)
        eventually(lambda: len(seen.models) > count + 2 * REQUESTS_PER_SECOND, within=CHANGE_SECONDS)
    assert seen.failures == []
    assert set(seen.models) == {FALLBACK["name"], "own"}
