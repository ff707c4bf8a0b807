"""The agent as an OpenAI chat model, for the gateway and for the chat page."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from clusterkit.clock import Clock
from clusterkit.errors import HearthError
from clusterkit.http.openai_wire import (
    CLIENT_LEFT,
    DONE,
    ApiError,
    ChatMessage,
    ChatRequest,
    chunk,
    completion,
    error_body,
    sse,
    usage,
)
from clusterkit.http.principal import Principal, principal_of
from pipecatapp.runs.records import RunResult
from pipecatapp.turns.errors import InvalidTurn
from pipecatapp.turns.turns import RunningTurn, Turn, Turns, turn_of
from pipecatapp.web.errors import as_api_error

EVENT_STREAM: dict[str, Any] = {"content": {"text/event-stream": {}}}  #: for the API's description
Value = TypeVar("Value")


class PageRequest(BaseModel):
    """What the chat page sends: the conversation so far."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=1000)


def chat_routes(turns: Turns, model: str, clock: Clock) -> APIRouter:
    """`/v1/chat/completions` (for services) and `/api/chat` (for the page)."""
    router = APIRouter(tags=["chat"])

    @router.post("/v1/chat/completions", responses={200: EVENT_STREAM})
    async def chat_completions(asked: ChatRequest, request: Request) -> Response:
        """Answer the last message of a conversation."""
        _check(asked, model)
        answer = _Answer(model, clock)
        turn = _turn(asked.messages)
        if asked.stream:
            return await _streamed(turns, turn, answer, request, wants_usage=asked.wants_usage)
        principal = principal_of(request.scope)
        return await _while_connected(request, lambda: _whole(turns, turn, answer, principal))

    @router.post("/api/chat", response_class=StreamingResponse, responses={200: EVENT_STREAM})
    async def page_chat(asked: PageRequest, request: Request) -> Response:
        """The same for the chat page, always streamed."""
        turn = _turn(asked.messages)
        return await _streamed(turns, turn, _Answer(model, clock), request, wants_usage=False)

    return router


def _check(asked: ChatRequest, model: str) -> None:
    if asked.model != model:
        raise ApiError(
            f"There is no model {asked.model!r} here (known: {model!r}).",
            status=404,
            code="model_not_found",
            param="model",
        )
    if (asked.model_extra or {}).get("tools"):
        raise ApiError(
            f"{model!r} is an agent and calls its own tools; send yours to an expert such as 'main'.",
            status=400,
            param="tools",
        )


def _turn(messages: Sequence[ChatMessage]) -> Turn:
    try:
        return turn_of([{"role": one.role, "content": one.text()} for one in messages])
    except InvalidTurn as error:
        raise as_api_error(error) from error


class _Answer:
    """The parts that all chunks of one answer share."""

    def __init__(self, model: str, clock: Clock) -> None:
        self.shared: dict[str, Any] = {"model": model, "created": int(clock.now().timestamp())}

    def chunk(self, run_id: str, *, hearth: dict[str, Any] | None = None, **rest: Any) -> bytes:
        event = chunk(id=f"chatcmpl-{run_id}", **self.shared, **rest)
        return sse(event if hearth is None else {**event, "hearth": hearth})


async def _whole(turns: Turns, turn: Turn, answer: _Answer, principal: Principal) -> Response:
    try:
        async with turns.run(turn, principal=principal) as running:
            text = "".join([piece async for piece in running.pieces()])
            result = running.result
    except HearthError as error:
        raise as_api_error(error) from error
    body = completion(
        id=f"chatcmpl-{result.run_id}",
        text=text,
        finish_reason="stop",
        usage=_usage(result),
        **answer.shared,
    )
    return JSONResponse({**body, "hearth": _about(result)})


class _TurnStream(StreamingResponse):
    """An event stream that ends its turn with itself, however it ends."""

    def __init__(self, turn: AsyncExitStack, body: AsyncIterator[bytes]) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(body, media_type="text/event-stream", headers=headers)
        self._turn = turn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Not in the body itself: one that is never begun would never end its turn, and where the
        # client's leaving interrupts it, it cannot wait for anything.
        async with self._turn:
            await super().__call__(scope, receive, send)


async def _streamed(
    turns: Turns, turn: Turn, answer: _Answer, request: Request, *, wants_usage: bool
) -> Response:
    async with AsyncExitStack() as stack:
        try:
            running = await stack.enter_async_context(turns.run(turn, principal=principal_of(request.scope)))
            pieces = running.pieces()
            # A turn that fails before its first word can still be answered with the right status.
            first = await _while_connected(request, lambda: anext(pieces, None))
        except HearthError as error:
            raise as_api_error(error) from error
        return _TurnStream(stack.pop_all(), _events(running, first, pieces, answer, wants_usage))


async def _events(
    running: RunningTurn,
    first: str | None,
    pieces: AsyncIterator[str],
    answer: _Answer,
    wants_usage: bool,
) -> AsyncIterator[bytes]:
    run_id = running.run_id
    try:
        yield answer.chunk(run_id, delta={"role": "assistant", "content": first or ""})
        async for piece in pieces:
            yield answer.chunk(run_id, delta={"content": piece})
        result = running.result
        yield answer.chunk(run_id, delta={}, finish_reason="stop", hearth=_about(result))
        if wants_usage:
            yield answer.chunk(run_id, delta=None, usage=_usage(result))
        yield DONE
    except HearthError as error:
        problem = as_api_error(error)
        yield sse(error_body(problem.message, problem.type, problem.code))


def _usage(result: RunResult) -> dict[str, int]:
    return usage(result.usage.tokens_in, result.usage.tokens_out)


def _about(result: RunResult) -> dict[str, Any]:
    return {"run": result.run_id, "tools": [call.tool for call in result.tool_calls if call.succeeded]}


async def _while_connected(request: Request, work: Callable[[], Awaitable[Value]]) -> Value:
    """Do `work`, but stop it as soon as the client goes away."""
    working = asyncio.ensure_future(_awaited(work))
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ApiError("The client went away.", status=CLIENT_LEFT)
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.wait({working, leaving})


async def _awaited(work: Callable[[], Awaitable[Value]]) -> Value:
    return await work()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
