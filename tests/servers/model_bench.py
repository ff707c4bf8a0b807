"""Model servers with real child processes that only play model server."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from clusterkit.clock import SystemClock
from clusterkit.config.catalogue import ExpertSpec, ModelSpec
from llama_expert.choose import FileFacts, Reason
from llama_expert.engines.engine import Launch
from llama_expert.kept_server import ServerOptions
from llama_expert.lists import Lists, MemoryRules
from llama_expert.model_servers import ModelServers

FAKE = Path(__file__).parent / "fake_model_server.py"
CHANGE_SECONDS = 10.0  #: what something gets to come about


class HastyClock(SystemClock):
    """Sleeps a fiftieth of what it is told; everything else is real."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 50)


class FakeEngine:
    """Runs `fake_model_server.py`."""

    announces = True

    def command(self, launch: Launch) -> tuple[str, ...]:
        return (sys.executable, str(FAKE), str(launch.model_path))

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        return dict(inherited)


class Log:
    """What was logged, to be waited for."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()

    def take(self, _: Any, __: str, event: MutableMapping[str, Any]) -> Any:
        self._events.put_nowait(dict(event))
        raise structlog.DropEvent

    async def until(self, name: str, **fields: object) -> Mapping[str, Any]:
        async with asyncio.timeout(CHANGE_SECONDS):
            while True:
                event = await self._events.get()
                if event["event"] == name and all(event[key] == value for key, value in fields.items()):
                    return event


@dataclass
class Bench:
    """A folder of fake models and the servers over them."""

    folder: Path
    free_mb: int = 1000
    memory: MemoryRules = MemoryRules()
    experts: dict[str, tuple[ModelSpec, ...]] = field(default_factory=dict)

    def model(self, name: str, behaviour: str, memory_mb: int = 10) -> ModelSpec:
        """A model whose server does as `behaviour` says; its file is new every time."""
        written = self.folder / f"{name}.new"
        written.write_text(behaviour)
        written.replace(self.folder / f"{name}.gguf")
        return ModelSpec(name=name, url="file:///x", filename=f"{name}.gguf", memory_mb=memory_mb)

    def go(self, name: str) -> None:
        """Let the slow model `name` get ready."""
        (self.folder / f"{name}.gguf.go").touch()

    def facts(self, model: ModelSpec) -> FileFacts:
        path = self.folder / model.filename
        if not path.exists():
            return FileFacts(reason=Reason.MISSING, detail="not there")
        state = path.stat()
        return FileFacts(str(path), 1, version=f"{state.st_ino}-{state.st_mtime_ns}")

    def lists(self) -> Lists:
        return Lists(tuple(ExpertSpec(name, models) for name, models in self.experts.items()), self.memory)

    def options(self, load_timeout: float, wait_timeout: float) -> ServerOptions:
        key_file = self.folder / "key"
        key_file.write_text("the-key")
        return ServerOptions(
            engine=FakeEngine(),
            environment={},
            key_file=key_file,
            threads=1,
            context=512,
            load_timeout=load_timeout,
            wait_timeout=wait_timeout,
        )

    @asynccontextmanager
    async def supervised(
        self,
        load_timeout: float = 5.0,
        wait_timeout: float = CHANGE_SECONDS,
        **experts: tuple[ModelSpec, ...],
    ) -> AsyncIterator[ModelServers]:
        """The servers of `experts`."""
        self.experts = dict(experts)
        servers = ModelServers(
            self.lists(),
            read_lists=self.lists,
            inspect=lambda models: {model: self.facts(model) for model in models},
            free_mb=lambda _: self.free_mb,
            options=self.options(load_timeout, wait_timeout),
            clock=HastyClock(),
        )
        task = asyncio.create_task(servers.run())
        try:
            yield servers
        finally:
            task.cancel()
            await asyncio.wait({task})


def pid_of(servers: ModelServers, expert: str) -> int:
    """The process that serves `expert`."""
    server = servers.state(expert).server
    assert server is not None
    return server.pid
