"""Keeps every expert served: changes models without a gap, and shares the memory among them.

`llama_expert.plan` says which model an expert is to have, `llama_expert.residency` who is in memory; this
file has the servers, sends requests to them, and carries out what those two decide.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from clusterkit.clock import Clock
from clusterkit.config.catalogue import ModelSpec
from clusterkit.errors import HearthError
from llama_expert.choose import Assignment, FileFacts
from llama_expert.expert_state import ExpertState, ServingState
from llama_expert.kept_server import KeptServer, ServerOptions
from llama_expert.lists import Lists
from llama_expert.plan import Plan
from llama_expert.residency import Decision, Limits, Resident, Wish, decide
from llama_expert.served_model import ServedModel
from llama_expert.waiting_line import ExpertNotReadyError, Lease, WaitingLine

LOOK_SECONDS = 30.0  #: between two looks at the lists and the files, when nobody says that they changed

log = structlog.get_logger()

Inspect = Callable[[Sequence[ModelSpec]], Mapping[ModelSpec, FileFacts]]  #: blocks


class PinnedError(HearthError):
    """A pinned model does not leave memory."""

    code = "pinned"


@dataclass
class _Loaded:
    """A model that takes memory, with its server."""

    needed_mb: int
    kept: KeptServer
    task: asyncio.Task[str]
    last_used: float
    busy: int = 0
    ending: bool = False
    dismissed: bool = False
    retired_since: float | None = None  #: since when no expert has it any more
    yielding_since: float | None = None  #: since when it makes room for what replaces it


@dataclass(frozen=True)
class _Serving:
    """Where an expert's requests go."""

    assignment: Assignment
    model: ServedModel


class ModelServers:
    """Runs the model servers of some experts; run `run` as a task, ask `state` and `acquire` a server."""

    def __init__(
        self,
        lists: Lists,
        *,
        read_lists: Callable[[], Lists],
        inspect: Inspect,
        free_mb: Callable[[Sequence[int]], int],
        options: ServerOptions,
        clock: Clock,
    ) -> None:
        """`read_lists` blocks and gives the lists of the moment; it may raise `HearthError`.

        `free_mb` gives the memory in MB that model servers may use; what the processes use whose ids it
        is given counts as free.
        """
        self._read_lists, self._inspect, self._free_mb = read_lists, inspect, free_mb
        self._options, self._clock = options, clock
        self._plan = Plan(lists, context=options.context, pool_mb=options.rpc_memory_mb)
        self._serving: dict[str, _Serving] = {}
        self._loaded: dict[ServedModel, _Loaded] = {}
        self._standing: set[ServedModel] = set()  #: to be in memory though nobody asks
        self._changes: dict[str, int] = {}  #: experts that are to get another model, with a place in the line
        self._started: set[str] = set()  #: experts that were ready once
        self._closed: frozenset[ServedModel] = frozenset()
        self._changed = asyncio.Event()
        self._line = WaitingLine(self._changed.set)
        self._looking = asyncio.Lock()

    @property
    def states(self) -> tuple[ExpertState, ...]:
        """Every expert's state, in the order of the list."""
        return tuple(self.state(expert.name) for expert in self._plan.lists.experts)

    def state(self, expert: str) -> ExpertState:
        """How `expert` is. Raises KeyError when it is not served here."""
        if all(expert != served.name for served in self._plan.lists.experts):
            raise KeyError(expert)
        waiting = self._line.count(expert)
        assignment = self._plan.assigned.get(expert)
        if assignment is None:
            return ExpertState(expert, "starting", waiting=waiting)
        target = self._plan.targets.get(expert)
        serving, open_now = self._serving.get(expert), self._open(expert)
        if serving is not None and open_now is not None:
            return ExpertState(
                expert,
                "ready",
                serving.model.name,
                open_now.kept.server,
                open_now.kept.restarts,
                assignment.refused,
                spec=serving.assignment.model,
                context=serving.model.context,
                next_model=target.name if target is not None and target != serving.model else None,
                waiting=waiting,
            )
        if target is None:
            return ExpertState(expert, "without_model", refused=assignment.refused, waiting=waiting)
        loaded = self._loaded.get(target)
        away = loaded is None or target in self._closed
        return ExpertState(
            expert,
            ("loading" if waiting else "unloaded") if loaded is None or away else self._phase(expert, loaded),
            target.name,
            restarts=loaded.kept.restarts if loaded else 0,
            refused=assignment.refused,
            spec=assignment.model,
            context=target.context,
            waiting=waiting,
            queued=away and waiting > 0,
        )

    async def run(self) -> None:
        """Serve until cancelled."""
        await self._look_again()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_regularly(), name="look at the lists")
            while True:
                self._changed.clear()
                await self._changed_within(self._act(group))

    async def refresh(self) -> None:
        """Look at the lists and the files now; what they change is under way when this returns.

        Raises `HearthError` when a list is malformed; everything then stays as it was.
        """
        async with self._looking:
            lists = await asyncio.to_thread(self._read_lists)
            models = {model for expert in lists.experts for model in expert.models}
            facts = await asyncio.to_thread(self._inspect, tuple(models))
            if self._plan.knows(lists, facts):
                return
            pids = [one.kept.server.pid for one in self._loaded.values() if one.kept.server]
            free_mb = await asyncio.to_thread(self._free_mb, pids)
            # What is in memory fits, whatever a measurement under way says.
            budget_mb = max(free_mb, sum(one.needed_mb for one in self._loaded.values()))
            before = self._plan.targets
            self._plan.renew(lists, facts, budget_mb, self._working())
            self._follow_plan(before)

    def load(self, expert: str) -> ExpertState:
        """Have the first model of `expert` that can be used loaded now, or as soon as it fits.

        What did not load before is tried again. Raises KeyError when there is no such expert.
        """
        self.state(expert)
        before = self._plan.targets
        self._plan.retry(expert, self._working())
        target = self._plan.targets.get(expert)
        if target is not None:
            if target in self._loaded:
                self._loaded[target].dismissed = False
            self._standing.add(target)
            self._changes.setdefault(expert, self._line.next_order())
        self._follow_plan(before)
        return self.state(expert)

    def unload(self, expert: str) -> tuple[str, ...]:
        """Have the model of `expert` leave memory once nothing runs on it; it returns when asked for.

        Returns the names of the experts that share it. Raises KeyError, `PinnedError`.
        """
        self.state(expert)
        serving = self._serving.get(expert)
        if serving is None:
            return ()
        sharing = tuple(name for name, one in self._serving.items() if one.model == serving.model)
        if pinned := sorted(self._plan.lists.memory.pinned & set(sharing)):
            raise PinnedError(
                f"{serving.model.name} stays in memory: {', '.join(pinned)} is pinned in hearth.toml"
            )
        self._loaded[serving.model].dismissed = True
        self._changed.set()
        return sharing

    def try_acquire(self, expert: str) -> Lease | None:
        """A server for one request to `expert` when it need not wait for it, else None."""
        loaded = self._open(expert)
        return None if loaded is None or self._line.count(expert) else self._lease(loaded)

    async def acquire(self, expert: str) -> Lease:
        """A server for one request to `expert`, waiting in line for it; release the lease afterwards.

        Raises `ExpertNotReadyError` when none became ready in time, or no model can be used.
        """
        try:
            return await self._line.wait(expert, self._options.wait_timeout)
        except TimeoutError as error:
            waited, detail = self._options.wait_timeout, self.state(expert).detail
            raise ExpertNotReadyError(
                f"The expert {expert!r} was not ready within {waited:g} s: {detail}."
            ) from error

    async def _look_regularly(self) -> None:
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            await self._look_again()

    async def _look_again(self) -> None:
        try:
            await self.refresh()
        except HearthError as error:
            log.warning("lists_unreadable", code=error.code, problem=str(error))

    async def _changed_within(self, seconds: float | None) -> None:
        waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._changed.wait())]
        if seconds is not None:
            waiting.append(asyncio.ensure_future(self._clock.sleep(seconds)))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()

    def _act(self, group: asyncio.TaskGroup) -> float | None:
        """Take one step; returns in how many seconds the next is due by itself, None for never."""
        self._forget_ended()
        self._direct_requests()
        decision = self._decide()
        for model in decision.end:
            self._loaded[model].ending = True
            self._standing.discard(model)
            self._loaded[model].task.cancel()
        for model in decision.load:
            kept = KeptServer(model, self._options, self._clock, self._changed.set)
            task = group.create_task(kept.run(), name=f"keep {model.name}")
            task.add_done_callback(lambda _: self._changed.set())
            needed_mb = self._plan.needs(model)
            self._loaded[model] = _Loaded(needed_mb, kept, task, self._clock.monotonic())
        self._closed = decision.closed
        self._started |= {name for name, one in self._plan.targets.items() if one not in self._loaded}
        self._admit()
        return decision.look_again_in

    def _forget_ended(self) -> None:
        ended = {model: one for model, one in self._loaded.items() if one.task.done()}
        for model in ended:
            del self._loaded[model]
        self._serving = {name: one for name, one in self._serving.items() if one.model in self._loaded}
        failed = {model: one.task.result() for model, one in ended.items() if not one.task.cancelled()}
        if failed:
            before = self._plan.targets
            self._plan.strike(failed, self._working())
            self._follow_plan(before)

    def _follow_plan(self, before: Mapping[str, ServedModel]) -> None:
        """Note what is to be loaded now that the plan is another."""
        targets = self._plan.targets
        wanted = set(targets.values())
        self._standing = (self._standing & wanted) | (wanted - set(before.values()))
        self._changes = {name: order for name, order in self._changes.items() if name in targets}
        for name, serving in self._serving.items():
            if name in targets and targets[name] != serving.model:
                self._changes.setdefault(name, self._line.next_order())
        self._changed.set()

    def _direct_requests(self) -> None:
        """Send each expert's requests to its model once that is ready; retire what nobody has any more."""
        now = self._clock.monotonic()
        names = {expert.name for expert in self._plan.lists.experts}
        self._serving = {name: one for name, one in self._serving.items() if name in names}
        for name, target in self._plan.targets.items():
            loaded = self._loaded.get(target)
            if loaded is not None and loaded.kept.server is not None and not loaded.ending:
                before = self._serving.get(name)
                if before is None or before.model != target:
                    log.info("expert_served", expert=name, model=target.name, pid=loaded.kept.server.pid)
                self._serving[name] = _Serving(self._plan.assigned[name], target)
                self._changes.pop(name, None)
                self._started.add(name)
        used = {one.model for one in self._serving.values()} | set(self._plan.targets.values())
        replaced = used - set(self._plan.targets.values())
        for model, loaded in self._loaded.items():
            loaded.retired_since = (loaded.retired_since or now) if model not in used else None
            yields = model in replaced and model in self._closed
            loaded.yielding_since = (loaded.yielding_since or now) if yields else None

    def _decide(self) -> Decision[ServedModel]:
        rules, targets = self._plan.lists.memory, self._plan.targets
        limits = Limits(
            budget_mb=self._plan.budget_mb, idle=rules.idle_seconds, drain=self._options.drain_timeout
        )
        pinned = [targets[name] for name in rules.pinned if name in targets]
        asked = [(one.order, targets[one.expert]) for one in self._line.waiters if one.expert in targets]
        asked += [(order, targets[name]) for name, order in self._changes.items()]
        line = [*pinned, *(model for _, model in sorted(asked, key=lambda one: one[0]))]
        standing = [model for model in dict.fromkeys(targets.values()) if model in self._standing]
        residents = [
            Resident(
                key=model,
                needed_mb=one.needed_mb,
                loaded=one.kept.server is not None and not one.ending,
                ending=one.ending,
                busy=one.busy,
                last_used=one.last_used,
                pinned=model in pinned,
                replaced=model not in set(targets.values()),
                dismissed=one.dismissed,
                retired_since=one.retired_since or one.yielding_since,
            )
            for model, one in self._loaded.items()
        ]
        return decide(
            limits,
            residents,
            [Wish(model, self._needs(model)) for model in line],
            [Wish(model, self._needs(model)) for model in standing],
            self._clock.monotonic(),
        )

    def _needs(self, model: ServedModel) -> int:
        loaded = self._loaded.get(model)
        return self._plan.needs(model) if loaded is None else loaded.needed_mb

    def _admit(self) -> None:
        if not self._plan.assigned:
            return  # the first look is under way
        for waiter in self._line.waiters:
            loaded = self._open(waiter.expert)
            if loaded is not None:
                self._line.admit(waiter, self._lease(loaded))
            elif waiter.expert not in self._plan.assigned:
                self._line.refuse(waiter, ExpertNotReadyError(f"The expert {waiter.expert!r} is gone."))
            elif waiter.expert not in self._plan.targets:
                detail = self.state(waiter.expert).detail
                problem = f"The expert {waiter.expert!r} is not ready: {detail}."
                self._line.refuse(waiter, ExpertNotReadyError(problem))

    def _open(self, expert: str) -> _Loaded | None:
        """What serves `expert` and admits requests now."""
        serving = self._serving.get(expert)
        if serving is None or serving.model in self._closed:
            return None
        loaded = self._loaded.get(serving.model)
        return None if loaded is None or loaded.ending or loaded.kept.server is None else loaded

    def _lease(self, loaded: _Loaded) -> Lease:
        assert loaded.kept.server is not None
        loaded.busy += 1
        loaded.last_used = self._clock.monotonic()

        def release() -> None:
            loaded.busy -= 1
            loaded.last_used = self._clock.monotonic()
            self._changed.set()

        return Lease(loaded.kept.server, release)

    def _working(self) -> Mapping[str, Assignment]:
        """What experts are served with by servers that work."""
        return {
            name: one.assignment
            for name, one in self._serving.items()
            if (loaded := self._loaded.get(one.model)) and loaded.kept.server and not loaded.ending
        }

    def _phase(self, expert: str, loaded: _Loaded) -> ServingState:
        if loaded.kept.phase == "restarting":
            return "restarting"
        return "loading" if expert in self._started else "starting"
