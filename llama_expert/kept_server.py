"""One model's server, started again after every end, until its model counts as failed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from clusterkit.clock import Clock
from clusterkit.ports.local_jobs import back_off
from llama_expert.engines.engine import Launch, ModelEngine
from llama_expert.served_model import ServedModel
from llama_expert.server_process import ModelDidNotLoadError, ModelServer, free_port, model_server

MAX_FAILED_RESTARTS = 3  #: in a row, of a model that did load once; then the next of the list is used
STEADY_SECONDS = 60.0  #: after running so long a server's back-off starts over

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """What every model server on this machine is started with; times in seconds."""

    engine: ModelEngine
    environment: Mapping[str, str]
    key_file: Path
    threads: int
    context: int
    load_timeout: float
    wait_timeout: float = 240.0  #: what a request may wait for a model
    drain_timeout: float = 300.0  #: what running requests get on a server that another has replaced
    rpc_servers: tuple[str, ...] = ()  #: HOST:PORT of those that lend their memory to a model too big for us
    rpc_memory_mb: int = 0  #: what they lend, all together


class KeptServer:
    """A model server that is kept running for as long as `run` is."""

    def __init__(
        self, model: ServedModel, options: ServerOptions, clock: Clock, changed: Callable[[], None]
    ) -> None:
        """`changed` is called whenever `phase` or `server` is another."""
        self.phase: Literal["starting", "ready", "restarting"] = "starting"
        self.server: ModelServer | None = None  #: set when `phase` is ready
        self.restarts = 0
        self._model, self._options, self._clock, self._changed = model, options, clock, changed

    async def run(self) -> str:
        """Serve; returns what was said when the model counts as failed."""
        loaded_once, failures, quick_ends = False, 0, 0
        while True:
            since = self._clock.monotonic()
            try:
                await self._serve_once()
                loaded_once, failures = True, 0
                steady = self._clock.monotonic() - since >= STEADY_SECONDS
                quick_ends = 0 if steady else quick_ends + 1
            except ModelDidNotLoadError as error:
                failures += 1
                log.warning(
                    "model_did_not_load", model=self._model.name, attempt=failures, problem=str(error)
                )
                if not loaded_once or failures >= MAX_FAILED_RESTARTS:
                    return str(error)
            self.phase = "restarting"
            self._changed()
            await self._clock.sleep(back_off(max(0, quick_ends + failures - 1)))
            self.restarts += 1

    async def _serve_once(self) -> None:
        options, model = self._options, self._model
        launch = Launch(
            model_path=Path(model.path),
            alias=model.name,
            context=model.context,
            threads=options.threads,
            repeat_penalty=model.repeat_penalty,
            port=0 if options.engine.announces else free_port(),
            key_file=options.key_file,
            rpc_servers=options.rpc_servers if model.split else (),
        )
        async with model_server(
            options.engine,
            launch,
            environment=options.environment,
            load_timeout=options.load_timeout,
            clock=self._clock,
        ) as server:
            self.phase, self.server = "ready", server
            log.info("model_ready", model=model.name, pid=server.pid, port=server.port)
            self._changed()
            try:
                status = await server.ended()
            finally:
                self.server = None
            self.phase = "restarting"
            self._changed()
            log.warning("model_server_ended", model=model.name, pid=server.pid, status=status)
