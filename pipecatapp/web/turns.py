"""Turns of the agent: how many run at once, and each one's own channel for its answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from clusterkit.errors import HearthError
from clusterkit.http.openai_wire import ApiError, ChatMessage
from pipecatapp.runs.events import Chunk, Restarted, RunEvent
from pipecatapp.runs.library import WorkflowLibrary
from pipecatapp.runs.records import InvalidInputError, RunFailedError, RunResult
from pipecatapp.runs.runner import WorkflowRunner
from pipecatapp.web.main_model import MainModel, recent
from pipecatapp.workflow.errors import ErrorCode

log = structlog.get_logger()

BUSY_SECONDS = 2.0  #: what a client is told to wait when too many turns wait already

_UNAVAILABLE = {ErrorCode.NETWORK, ErrorCode.OVERLOADED, ErrorCode.RATE_LIMIT}
_TIMED_OUT = {ErrorCode.TIMEOUT, ErrorCode.IDLE_TIMEOUT}


@dataclass(frozen=True)
class Turn:
    """What a person said, and the conversation before it."""

    text: str
    history: Sequence[dict[str, Any]] = ()


def is_unicode(text: str) -> bool:
    """Whether `text` can be passed on: JSON may hold halves of characters, which no encoding can."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def turn_of(messages: Sequence[ChatMessage]) -> Turn:
    """The turn that a chat request asks for. Raises `ApiError` when a person has not said anything."""
    last = messages[-1]
    if last.role != "user" or not last.text().strip():
        raise ApiError(
            f"The last message must be from the user and have text; it is from {last.role!r}.",
            status=400,
            param="messages",
        )
    if not all(is_unicode(one.text()) for one in messages):
        raise ApiError("A message holds half of a character.", status=400, param="messages")
    # Tool calls and their results are another agent's; the calls would be left without results here.
    said = (one for one in messages[:-1] if one.role not in ("tool", "function") and one.text())
    history = [{"role": one.role, "content": one.text()} for one in said]
    return Turn(last.text(), history)


class RunningTurn:
    """One turn under way: pieces of its answer, then its result. Nobody else receives either."""

    def __init__(self, run_id: str) -> None:
        """Made by `Turns.run`."""
        self.run_id = run_id
        self._events: asyncio.Queue[str | RunResult | HearthError] = asyncio.Queue()
        self._result: RunResult | None = None

    def hear(self, event: RunEvent) -> None:
        """The listener of the run."""
        if isinstance(event, Chunk):
            self._events.put_nowait(event.text)
        elif isinstance(event, Restarted):
            # What was sent cannot be taken back; the new text at least begins on a line of its own.
            self._events.put_nowait("\n")

    def finish(self, result: RunResult | HearthError) -> None:
        """The run is over."""
        self._events.put_nowait(result)

    async def pieces(self) -> AsyncIterator[str]:
        """The text as it is made. Raises what the run raised."""
        while True:
            event = await self._events.get()
            if isinstance(event, HearthError):
                raise event
            if isinstance(event, RunResult):
                self._result = event
                return
            yield event

    @property
    def result(self) -> RunResult:
        """The finished run; after `pieces` has ended."""
        assert self._result is not None, "the turn is still running"
        return self._result


class Turns:
    """Runs turns through the agent's workflow."""

    def __init__(
        self,
        *,
        runner: WorkflowRunner,
        library: WorkflowLibrary,
        workflow: str,
        running: int,
        waiting: int,
        timeout: float,
        new_id: Callable[[], str],
        model: Callable[[], Awaitable[MainModel]],
        tools: Sequence[str],
    ) -> None:
        """At most `running` turns run and `waiting` wait; neither takes longer than `timeout` seconds.

        `model` tells of the model of the moment, which is offered `tools` when it is good enough.
        """
        self._runner, self._library, self._workflow = runner, library, workflow
        self._places, self._room = asyncio.Semaphore(running), running + waiting
        self._present: set[asyncio.Task[None]] = set()
        self._timeout, self._new_id = timeout, new_id
        self._model, self._tools = model, tools

    @asynccontextmanager
    async def run(self, turn: Turn) -> AsyncIterator[RunningTurn]:
        """Run `turn`; leaving the block early stops it. Raises `ApiError` (429) when too many wait."""
        if len(self._present) >= self._room:
            raise ApiError(
                f"{len(self._present)} turns are running or waiting already.",
                status=429,
                type="rate_limit_error",
                code="too_many_turns",
                retry_after=BUSY_SECONDS,
            )
        channel = RunningTurn(self._new_id())
        work = asyncio.create_task(self._work(turn, channel), name="turn")
        # A turn counts until it has ended, also when nobody waits for that any more.
        self._present.add(work)
        work.add_done_callback(self._present.discard)
        try:
            yield channel
        finally:
            work.cancel()
            await asyncio.wait({work})

    async def _work(self, turn: Turn, channel: RunningTurn) -> None:
        try:
            await self._get_place()
            try:
                result = await self._carry_out(turn, channel)
            finally:
                self._places.release()
        except HearthError as error:
            log.warning("turn", run=channel.run_id, status="failed", code=error.code, problem=str(error))
            channel.finish(error)
        except Exception as error:  # the edge of a task: whoever awaits the answer must hear of it
            log.error("turn", run=channel.run_id, status="crashed", exc_info=error)
            said = "Something went wrong here; the log has it."
            channel.finish(ApiError(said, status=500, type="server_error", code="internal"))
        else:
            used = [call.tool for call in result.tool_calls]
            log.info(
                "turn",
                run=channel.run_id,
                status=result.status,
                tools=used,
                ms=round(result.seconds * 1000, 2),
            )
            channel.finish(result)

    async def _get_place(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._places.acquire()
        except TimeoutError as error:
            raise ApiError(
                f"No other turn ended within {self._timeout:g} s.",
                status=503,
                type="server_error",
                code="too_many_turns",
                retry_after=BUSY_SECONDS,
            ) from error

    async def _carry_out(self, turn: Turn, channel: RunningTurn) -> RunResult:
        graph = await asyncio.to_thread(self._library.load, self._workflow)
        model = await self._model()
        offered = {
            "text": turn.text,
            "history": recent(turn.history, model.context),
            "tools": list(self._tools) if model.tools else [],
        }
        return await self._runner.run(
            graph,
            {name: value for name, value in offered.items() if name in graph.inputs},
            run_id=channel.run_id,
            agent_id=self._workflow,
            listener=channel.hear,
            timeout=self._timeout,
        )


def as_api_error(error: HearthError) -> ApiError:
    """A failed turn as an HTTP answer."""
    if isinstance(error, ApiError):
        return error
    refused = isinstance(error, RunFailedError) and error.code == ErrorCode.MODEL_REFUSED
    if refused or isinstance(error, InvalidInputError):
        return ApiError(str(error), status=400, code=error.code)
    if isinstance(error, RunFailedError) and error.code in _UNAVAILABLE:
        return ApiError(
            str(error), status=503, type="server_error", code=error.code, retry_after=BUSY_SECONDS
        )
    if isinstance(error, RunFailedError) and error.code in _TIMED_OUT:
        return ApiError(str(error), status=504, type="server_error", code=error.code)
    return ApiError(str(error), status=500, type="server_error", code=error.code)


def tokens_of(result: RunResult) -> tuple[int, int]:
    """Tokens (prompt, answer) that the model calls of a run used together."""
    used = [record.outputs["usage"] for record in result.nodes.values() if record.outputs.get("usage")]
    return (
        sum(one.get("tokens_in") or 0 for one in used),
        sum(one.get("tokens_out") or 0 for one in used),
    )
