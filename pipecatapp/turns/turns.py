"""Turns of the agent: how many run at once, and each one's own channel for what happens in it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from clusterkit.errors import HearthError
from clusterkit.http.principal import Principal
from pipecatapp.runs.events import Chunk, Restarted, RunEvent
from pipecatapp.runs.library import WorkflowLibrary
from pipecatapp.runs.records import RunResult
from pipecatapp.runs.runner import WorkflowRunner
from pipecatapp.turns.conversation import recent
from pipecatapp.turns.errors import InvalidTurn, NoPlaceInTime, TooManyTurns, TurnCrashed
from pipecatapp.turns.events import Subscription, TurnAnswered, TurnEnd, TurnFailed
from pipecatapp.turns.main_model import MainModel

log = structlog.get_logger()


@dataclass(frozen=True)
class Turn:
    """What a person said, and the conversation before it: messages with `role` and `content`, text each."""

    text: str
    history: Sequence[dict[str, Any]] = ()


def is_unicode(text: str) -> bool:
    """Whether `text` can be passed on: JSON may hold halves of characters, which no encoding can."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def turn_of(messages: Sequence[Mapping[str, str]]) -> Turn:
    """The turn that a conversation ends with; each message has `role` and `content`.

    Raises `InvalidTurn` when its last message is not a person's or says nothing, and for text that
    cannot be passed on.
    """
    last = messages[-1]
    if last["role"] != "user":
        raise InvalidTurn(f"The last message must be from the user; it is from {last['role']!r}.")
    if not last["content"].strip():
        raise InvalidTurn("The last message has no text; write what you want to ask.")
    if not all(is_unicode(one["content"]) for one in messages):
        raise InvalidTurn("A message holds half of a character.")
    # Tool calls and their results are another agent's; the calls would be left without results here.
    own = (one for one in messages[:-1] if one["role"] not in ("tool", "function") and one["content"])
    return Turn(last["content"], [dict(one) for one in own])


class RunningTurn:
    """One turn under way. Any number of subscribers see everything that happens in it, each for itself."""

    def __init__(self, run_id: str) -> None:
        """Made by `Turns.run`."""
        self.run_id = run_id
        self._subscriptions: list[Subscription] = []
        self._end: TurnEnd | None = None

    def subscribe(self) -> Subscription:
        """What happens from now on; see `pipecatapp.turns.events` for what becomes of slow readers.

        Subscribed to before anything is awaited in the block of `Turns.run`, a turn is seen whole.
        """
        subscription = Subscription()
        self._subscriptions.append(subscription)
        if self._end is not None:
            subscription.put(self._end)
        return subscription

    def on_event(self, event: RunEvent) -> None:
        """The listener of the run."""
        for subscription in self._subscriptions:
            subscription.put(event)

    def finish(self, end: TurnEnd) -> None:
        """The turn is over."""
        self._end = end
        for subscription in self._subscriptions:
            subscription.put(end)

    def pieces(self) -> AsyncIterator[str]:
        """The text of the answer as it is made, from now on. Raises what the turn failed with."""
        return _pieces(self.subscribe())

    @property
    def result(self) -> RunResult:
        """The finished run; once the turn was answered."""
        assert isinstance(self._end, TurnAnswered), "the turn has no answer yet"
        return self._end.result


async def _pieces(events: Subscription) -> AsyncIterator[str]:
    async for event in events:
        if isinstance(event, Chunk):
            yield event.text
        elif isinstance(event, Restarted):
            # What was sent cannot be taken back; the new text at least begins on a line of its own.
            yield "\n"
        elif isinstance(event, TurnFailed):
            raise event.error


@dataclass(frozen=True)
class Limits:
    """How much the agent does at a time."""

    running: int  #: turns that run at once
    waiting: int  #: turns that wait for one of them to end
    seconds: float  #: the longest time that a turn may wait, and again that it may run


class Turns:
    """Runs turns through the agent's workflow."""

    def __init__(
        self,
        *,
        runner: WorkflowRunner,
        library: WorkflowLibrary,
        workflow: str,
        limits: Limits,
        new_id: Callable[[], str],
        model: Callable[[], Awaitable[MainModel]],
        tools: Sequence[str],
        about: Callable[[], Mapping[str, str]],
    ) -> None:
        """`model` tells of the model of the moment, which is offered `tools` when it is good enough.

        `about` gives further inputs of the workflow, as far as it takes them: where and when it runs.
        """
        self._runner, self._library, self._workflow = runner, library, workflow
        self._limits, self._places = limits, asyncio.Semaphore(limits.running)
        self._present: set[asyncio.Task[None]] = set()
        self._new_id, self._model, self._tools, self._about = new_id, model, tools, about

    @asynccontextmanager
    async def run(self, turn: Turn, *, principal: Principal) -> AsyncIterator[RunningTurn]:
        """Run `turn` for `principal`; leaving the block early stops it. Raises `TooManyTurns`."""
        if len(self._present) >= self._limits.running + self._limits.waiting:
            raise TooManyTurns(len(self._present))
        running = RunningTurn(self._new_id())
        work = asyncio.create_task(self._work(turn, principal, running), name="turn")
        # A turn counts until it has ended, also when nobody waits for that any more.
        self._present.add(work)
        work.add_done_callback(self._present.discard)
        try:
            yield running
        finally:
            work.cancel()
            await asyncio.wait({work})

    async def _work(self, turn: Turn, principal: Principal, running: RunningTurn) -> None:
        try:
            await self._get_place()
            try:
                result = await self._carry_out(turn, principal, running)
            finally:
                self._places.release()
        except HearthError as error:
            log.warning("turn", run=running.run_id, status="failed", code=error.code, problem=str(error))
            running.finish(TurnFailed(error))
        except Exception as error:  # the edge of a task: whoever awaits the answer must learn of it
            log.error("turn", run=running.run_id, status="crashed", exc_info=error)
            running.finish(TurnFailed(TurnCrashed()))
        else:
            log.info(
                "turn",
                run=running.run_id,
                status=result.status,
                tools=[call.tool for call in result.tool_calls],
                ms=round(result.seconds * 1000, 2),
            )
            running.finish(TurnAnswered(result))

    async def _get_place(self) -> None:
        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._places.acquire()
        except TimeoutError as error:
            raise NoPlaceInTime(self._limits.seconds) from error

    async def _carry_out(self, turn: Turn, principal: Principal, running: RunningTurn) -> RunResult:
        graph = await asyncio.to_thread(self._library.load, self._workflow)
        model = await self._model()
        inputs = {
            "text": turn.text,
            "history": recent(turn.history, model.context, turn.text),
            **self._about(),
            "built_in_model": model.built_in,
            "tools": list(self._tools) if model.tools else [],
        }
        return await self._runner.run(
            graph,
            {name: value for name, value in inputs.items() if name in graph.inputs},
            run_id=running.run_id,
            agent_id=self._workflow,
            principal=principal,
            listener=running.on_event,
            timeout=self._limits.seconds,
        )
