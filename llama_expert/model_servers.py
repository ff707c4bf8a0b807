"""Keeps every expert served: chooses models, runs their servers, falls through when one does not load."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from clusterkit.clock import Clock
from clusterkit.config.catalogue import ExpertSpec, ModelSpec
from clusterkit.ports.local_jobs import back_off
from llama_expert.choose import Assignment, FileFacts, Reason, Refusal, choose
from llama_expert.engines.engine import Launch, ModelEngine
from llama_expert.server_process import ModelDidNotLoadError, ModelServer, free_port, model_server

MAX_FAILED_RESTARTS = 3  #: in a row, of a model that did load once; then the next of the list is used
STEADY_SECONDS = 60.0  #: after running so long a server's back-off starts over
RETRY_SECONDS = 30.0  #: between attempts to find a model for an expert that has none

log = structlog.get_logger()

ServingState = Literal["starting", "ready", "restarting", "without_model"]
Inspect = Callable[[Sequence[ModelSpec]], Mapping[ModelSpec, FileFacts]]  #: blocks


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """What every model server on this machine is started with."""

    engine: ModelEngine
    environment: Mapping[str, str]
    key_file: Path
    threads: int
    context: int
    load_timeout: float
    rpc_servers: tuple[str, ...] = ()  #: HOST:PORT of those that lend their memory to a model too big for us
    rpc_memory_mb: int = 0  #: what they lend, all together


@dataclass(frozen=True)
class ExpertState:
    """How one expert is."""

    expert: str
    state: ServingState
    model: str | None = None
    server: ModelServer | None = None  #: set when `state` is ready
    restarts: int = 0
    refused: tuple[Refusal, ...] = ()
    spec: ModelSpec | None = None  #: the active model's entry in the catalogue
    context: int = 0  #: tokens the server was started with

    @property
    def ready(self) -> bool:
        """Whether requests can be served now."""
        return self.server is not None

    @property
    def detail(self) -> str:
        """Why it is not ready, or ''."""
        if self.ready:
            return ""
        if self.model is not None:
            return f"{self.model} is {self.state}"
        reasons = "; ".join(f"{refusal.model}: {refusal.detail}" for refusal in self.refused)
        return f"no model can be used: {reasons}" if reasons else "choosing a model"


@dataclass
class _Kept:
    """One model file that is being served, for one or more experts."""

    model: ModelSpec
    task: asyncio.Task[None]
    state: ServingState = "starting"
    server: ModelServer | None = None
    restarts: int = 0


class ModelServers:
    """Runs the model servers of some experts; run `run` as a task and ask `state`."""

    def __init__(
        self,
        experts: Sequence[ExpertSpec],
        *,
        inspect: Inspect,
        free_mb: Callable[[], int],
        options: ServerOptions,
        clock: Clock,
    ) -> None:
        """`free_mb` gives the memory in MB that model servers may use, before any is started."""
        self._experts = tuple(experts)
        self._inspect, self._free_mb, self._options, self._clock = inspect, free_mb, options, clock
        self._assigned: dict[str, Assignment] = {}
        self._kept: dict[str, _Kept] = {}
        self._failed: dict[str, str] = {}
        self._budget_mb = 0
        self._changed = asyncio.Event()

    @property
    def states(self) -> tuple[ExpertState, ...]:
        """Every expert's state, in the order they were given."""
        return tuple(self.state(expert.name) for expert in self._experts)

    def state(self, expert: str) -> ExpertState:
        """How `expert` is. Raises KeyError when it is not served here."""
        if expert not in self._assigned:
            if all(expert != served.name for served in self._experts):
                raise KeyError(expert)
            return ExpertState(expert, "starting")
        assignment = self._assigned[expert]
        kept = self._kept.get(assignment.path)
        if assignment.model is None or kept is None:
            return ExpertState(expert, "without_model", refused=assignment.refused)
        return ExpertState(
            expert,
            kept.state,
            assignment.model.name,
            kept.server,
            kept.restarts,
            assignment.refused,
            spec=assignment.model,
            context=kept.model.context or self._options.context,
        )

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                models = {model for expert in self._experts for model in expert.models}
                facts = await asyncio.to_thread(self._inspect, tuple(models))
                if not self._kept:
                    self._budget_mb = await asyncio.to_thread(self._free_mb)
                self._forget_failures(facts)
                await self._serve_all(group, facts)

    def _forget_failures(self, facts: Mapping[ModelSpec, FileFacts]) -> None:
        """Experts that have nothing may try again what did not load before."""
        waiting = [e for e in self._experts if e.name in self._assigned and not self.state(e.name).model]
        again = {facts[model].path for expert in waiting for model in expert.models}
        self._failed = {path: why for path, why in self._failed.items() if path not in again}

    async def _serve_all(self, group: asyncio.TaskGroup, facts: Mapping[ModelSpec, FileFacts]) -> None:
        """Returns when an expert has been without a model for a while: a file or memory may have come."""
        while True:
            self._changed.clear()
            self._assign(facts)
            await self._reconcile(group)
            if all(assignment.model is not None for assignment in self._assigned.values()):
                await self._changed.wait()
            elif not await self._changed_within(RETRY_SECONDS):
                return

    async def _changed_within(self, seconds: float) -> bool:
        waiting = [
            asyncio.ensure_future(self._changed.wait()),
            asyncio.ensure_future(self._clock.sleep(seconds)),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
        return self._changed.is_set()

    def _assign(self, facts: Mapping[ModelSpec, FileFacts]) -> None:
        present = {
            name: assignment for name, assignment in self._assigned.items() if assignment.path in self._kept
        }
        chosen = choose(
            self._experts,
            facts,
            self._budget_mb,
            failed=self._failed,
            running=present,
            pool_mb=self._options.rpc_memory_mb,
        )
        for assignment in chosen:
            if assignment != self._assigned.get(assignment.expert):
                _report(assignment, self._budget_mb)
            self._assigned[assignment.expert] = assignment

    async def _reconcile(self, group: asyncio.TaskGroup) -> None:
        wanted: dict[str, ModelSpec] = {}
        for assignment in self._assigned.values():
            if assignment.model is not None:
                before = wanted.get(assignment.path, assignment.model)
                longest = max(
                    (model.context or self._options.context) for model in (before, assignment.model)
                )
                wanted[assignment.path] = before.model_copy(update={"context": longest})
        for path in self._kept.keys() - wanted.keys():
            await _cancel(self._kept.pop(path).task)
        for path, model in wanted.items():
            if path not in self._kept:
                task = group.create_task(self._keep(path, model), name=f"keep {model.name}")
                self._kept[path] = _Kept(model, task)

    async def _keep(self, path: str, model: ModelSpec) -> None:
        """Serve one file, again after every end; returns when it counts as failed."""
        loaded_once, failures, quick_ends = False, 0, 0
        while True:
            since = self._clock.monotonic()
            try:
                await self._serve_once(path, model)
                loaded_once, failures = True, 0
                steady = self._clock.monotonic() - since >= STEADY_SECONDS
                quick_ends = 0 if steady else quick_ends + 1
            except ModelDidNotLoadError as error:
                failures += 1
                log.warning("model_did_not_load", model=model.name, attempt=failures, problem=str(error))
                if not loaded_once or failures >= MAX_FAILED_RESTARTS:
                    self._failed[path] = str(error)
                    self._kept.pop(path, None)
                    self._changed.set()
                    return
            kept = self._kept[path]
            kept.state = "restarting"
            await self._clock.sleep(back_off(max(0, quick_ends + failures - 1)))
            kept.restarts += 1

    def _is_split(self, path: str) -> bool:
        return any(assignment.split for assignment in self._assigned.values() if assignment.path == path)

    async def _serve_once(self, path: str, model: ModelSpec) -> None:
        options = self._options
        launch = Launch(
            model_path=Path(path),
            alias=model.name,
            context=model.context or options.context,
            threads=options.threads,
            repeat_penalty=model.repeat_penalty,
            port=0 if options.engine.announces else free_port(),
            key_file=options.key_file,
            rpc_servers=options.rpc_servers if self._is_split(path) else (),
        )
        async with model_server(
            options.engine,
            launch,
            environment=options.environment,
            load_timeout=options.load_timeout,
            clock=self._clock,
        ) as server:
            kept = self._kept[path]
            kept.state, kept.server = "ready", server
            log.info("model_ready", model=model.name, pid=server.pid, port=server.port)
            try:
                status = await server.ended()
            finally:
                kept.server = None
            kept.state = "restarting"
            log.warning("model_server_ended", model=model.name, pid=server.pid, status=status)


def _report(assignment: Assignment, budget_mb: int) -> None:
    for refusal in assignment.refused:
        # That a large model was never fetched is no news; that one is broken is.
        tell = log.info if refusal.reason is Reason.MISSING else log.warning
        tell(
            "model_refused",
            expert=assignment.expert,
            model=refusal.model,
            reason=refusal.reason.value,
            detail=refusal.detail,
        )
    if assignment.model is None:
        log.error("expert_without_model", expert=assignment.expert, free_mb=budget_mb)
    else:
        log.info("model_chosen", expert=assignment.expert, model=assignment.model.name, path=assignment.path)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
