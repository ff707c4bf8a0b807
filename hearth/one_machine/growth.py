"""The brain grows by itself: a better model is fetched in the background while the small one answers."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import orjson
import structlog

from clusterkit.clock import Clock
from clusterkit.config.catalogue import SERVICE_PREFIX, ModelSpec, load_catalogue
from clusterkit.config.settings import load_settings
from clusterkit.errors import HearthError
from clusterkit.fetch.part_file import FetchError
from clusterkit.ports.registry import Registry
from hearth.one_machine.experts import command_experts
from hearth.one_machine.growth_choice import MIN_FREE_DISK, Machine, better_models
from hearth.one_machine.layout import Layout
from hearth.one_machine.state import GrowthState
from llama_expert.memory import free_memory_mb
from llama_expert.model_file import find_model
from llama_expert.settings import LlamaExpertSettings

EXPERT = "main"  #: whose model it is that grows
LOOK_SECONDS = 1.0  #: between two looks at whether the small model answers
RETRY_SECONDS = 3600.0  #: after no source had a model
GRACE_SECONDS = 5.0  #: between SIGTERM and SIGKILL

log = structlog.get_logger()


class Growth:
    """Fetches better models for the expert `main`; run `run` as a task and read `state`."""

    def __init__(
        self, layout: Layout, registry: Registry, clock: Clock, free_disk: Callable[[], int]
    ) -> None:
        """`free_disk` gives the bytes that are free where models lie.

        Nothing is fetched before the expert is healthy: the first answer must not wait for it.
        """
        self.state = GrowthState()
        self._layout, self._registry, self._clock, self._free_disk = layout, registry, clock, free_disk

    async def run(self) -> None:
        """Grow until there is nothing better, trying again what failed. Ends then, or when cancelled."""
        await self._until_served()
        while True:
            try:
                models = await asyncio.to_thread(wanted_models, self._layout)
            except HearthError as error:
                self.state = GrowthState("failed", detail=str(error))
                return
            if not models:
                self.state = GrowthState()
                return
            free = self._free_disk()
            if free < MIN_FREE_DISK:
                self.state = GrowthState("asking", models[0].name, detail=_little_disk(free, models[0]))
                return
            if await self._fetch_first_of(models):
                continue
            await self._clock.sleep(RETRY_SECONDS)

    async def _until_served(self) -> None:
        while not any(one.healthy for one in await self._registry.instances(SERVICE_PREFIX + EXPERT)):
            await self._clock.sleep(LOOK_SECONDS)

    async def _fetch_first_of(self, models: Sequence[ModelSpec]) -> bool:
        """Fetch the first that can be had; whether one could."""
        reasons = []
        for model in models:
            self.state = GrowthState("fetching", model.name, total=model.bytes or 0)
            try:
                await self._fetch(model)
            except FetchError as error:
                log.warning("model_not_fetched", model=model.name, problem=str(error))
                reasons.append(str(error))
                continue
            log.info("model_fetched", model=model.name)
            self.state = GrowthState()
            # When nobody tells them, the model servers notice it by themselves a little later.
            with suppress(HearthError):
                await command_experts(self._layout, "/experts/refresh")
            return True
        self.state = GrowthState("failed", models[0].name, detail="; ".join(reasons))
        return False

    async def _fetch(self, model: ModelSpec) -> None:
        """Fetch `model` at low priority, in a process that ends with this one. Raises `FetchError`."""
        began = self._clock.monotonic()
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "--", "nice", "-n", "19"),
            *(sys.executable, "-m", "llama_expert.fetch", "--progress"),
            *(str(models_file(self._layout)), str(self._layout.models_dir), model.name),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            errors = asyncio.ensure_future(process.stderr.read())
            async for line in process.stdout:
                self._note(line, began)
            said = (await errors).decode("utf-8", "replace").strip()
            status = await process.wait()
            if status != 0:
                raise FetchError(said.removeprefix("error: ") or f"the fetch ended with status {status}")
        finally:
            await _end(process)

    def _note(self, line: bytes, began: float) -> None:
        if not line.startswith(b"{"):
            return
        progress = orjson.loads(line)
        done, total = progress["done"], progress["total"] or self.state.total
        elapsed = self._clock.monotonic() - began
        left = elapsed * (total - done) / done if done else None
        self.state = replace(self.state, done=done, total=total, seconds_left=left)


def models_file(layout: Layout) -> Path:
    """The catalogue that the model servers of this machine read."""
    settings = load_settings(LlamaExpertSettings)
    return settings.models_file if "models_file" in settings.model_fields_set else layout.models_file


def wanted_models(layout: Layout) -> tuple[ModelSpec, ...]:
    """The models that this machine would do better with. Blocks. Raises `ConfigFileError`."""
    settings = load_settings(LlamaExpertSettings)
    models = load_catalogue(models_file(layout), layout.own_models_file).experts[EXPERT].models
    here = {model.name for model in models if find_model(model, layout.models_dir) is not None}
    free_mb = settings.memory_mb or free_memory_mb()
    return better_models(models, here, Machine(free_mb - settings.reserve_mb, settings.threads))


def _little_disk(free: int, model: ModelSpec) -> str:
    return (
        f"{free / 1e9:.1f} GB of disk are free, and below {MIN_FREE_DISK / 1e9:.0f} GB nothing is fetched "
        f"unasked; to fetch it: hearth model get {model.name}"
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), GRACE_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
