"""Messages that are not a request for an answer on the same connection.

A message with a response channel is answered there, by a callback that carries the secret of this one
message, and is not spoken. A message without one is spoken to whoever is in the room.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, Self

import httpx
import structlog
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from clusterkit.clock import Clock
from clusterkit.config.settings import is_loopback
from clusterkit.errors import HearthError
from clusterkit.http.openai_wire import ApiError, sse
from clusterkit.ports.registry import Registry
from clusterkit.telemetry.tracing import child_traceparent
from pipecatapp.web.chat import EVENT_STREAM
from pipecatapp.web.turns import Turn, Turns, is_unicode

CALLBACK_SECONDS = 10.0
CALLBACK_ATTEMPTS = 3
CALLBACK_BACK_OFF_SECONDS = 1.0
LISTENER_BACKLOG = 100  #: spoken texts kept for a page that does not read
MAX_MESSAGES = 64  #: messages under way at once

log = structlog.get_logger()


def _fits_a_header(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("may hold printable ASCII characters without spaces only")
    return value


class ResponseChannel(BaseModel):
    """Where the answer to a message goes, and the proof that it is the answer."""

    model_config = ConfigDict(extra="forbid")

    response_id: Annotated[str, Field(min_length=1, max_length=200)]
    url: AnyHttpUrl
    secret: Annotated[SecretStr, Field(min_length=16, max_length=200), AfterValidator(_fits_a_header)]

    @field_validator("url")
    @classmethod
    def _names_nobody(cls, value: AnyHttpUrl) -> AnyHttpUrl:
        # A client would send them instead of the secret.
        if value.username is not None or value.password is not None:
            raise ValueError("must not hold a user name or password")
        return value


class Message(BaseModel):
    """Something said to the agent."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(min_length=1, max_length=20_000)]
    respond_to: ResponseChannel | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.text.strip():
            raise ValueError("the text is blank")
        if not is_unicode(self.text):
            raise ValueError("the text holds half of a character")
        return self


class Room:
    """Who hears what is spoken: the open chat pages now, loudspeakers with the voice pipeline."""

    def __init__(self) -> None:
        """Nobody listens yet."""
        self._listeners: set[asyncio.Queue[str | None]] = set()

    def say(self, text: str) -> None:
        """Speak; a listener that is far behind misses the oldest of it."""
        self._tell(text)

    def close(self) -> None:
        """Send everybody home."""
        self._tell(None)

    def _tell(self, what: str | None) -> None:
        for listener in self._listeners:
            if listener.full():
                listener.get_nowait()
            listener.put_nowait(what)

    async def listen(self) -> AsyncIterator[str]:
        """What is spoken from now on, until the room closes."""
        heard: asyncio.Queue[str | None] = asyncio.Queue(LISTENER_BACKLOG)
        self._listeners.add(heard)
        try:
            while (text := await heard.get()) is not None:
                yield text
        finally:
            self._listeners.discard(heard)


class Inbox:
    """Takes messages, runs their turns and sees to it that each answer reaches its channel."""

    def __init__(
        self,
        *,
        turns: Turns,
        room: Room,
        clock: Clock,
        http: httpx.AsyncClient,
        may_call: Callable[[str], Awaitable[bool]],
    ) -> None:
        """`may_call` says whether answers may be sent to a host."""
        self._turns, self._room, self._clock, self._http = turns, room, clock, http
        self._may_call = may_call
        self._under_way: set[asyncio.Task[None]] = set()

    async def take(self, message: Message) -> None:
        """Begin to work on `message`. Raises `ApiError`."""
        if len(self._under_way) >= MAX_MESSAGES:
            raise ApiError("Too many messages are under way.", status=429, code="too_many_messages")
        channel = message.respond_to
        if channel is not None and not await self._may_call(channel.url.host or ""):
            raise ApiError(
                f"Answers are sent to this machine and to services of this Hearth only, "
                f"not to {channel.url.host}.",
                status=400,
                code="foreign_callback",
                param="respond_to.url",
            )
        task = asyncio.create_task(self._answer(message), name="message")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Stop what is under way."""
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def _answer(self, message: Message) -> None:
        try:
            async with self._turns.run(Turn(message.text)) as running:
                body: dict[str, Any] = {"text": "".join([piece async for piece in running.pieces()])}
        except HearthError as error:
            log.warning("message_not_answered", code=error.code, problem=str(error))
            body = {"error": {"code": error.code, "message": str(error)}}
        if message.respond_to is not None:
            await self._call_back(message.respond_to, body)
        elif "text" in body:
            self._room.say(body["text"])

    async def _call_back(self, channel: ResponseChannel, body: dict[str, Any]) -> None:
        headers = {
            "authorization": f"Bearer {channel.secret.get_secret_value()}",
            "traceparent": child_traceparent(),
        }
        problem = ""
        for attempt in range(CALLBACK_ATTEMPTS):
            if attempt:
                await self._clock.sleep(CALLBACK_BACK_OFF_SECONDS * 2**attempt)
            try:
                answer = await self._http.post(
                    str(channel.url),
                    json={"response_id": channel.response_id, **body},
                    headers=headers,
                    timeout=CALLBACK_SECONDS,
                )
            except httpx.HTTPError as error:
                problem = str(error)
                continue
            told = {"response_id": channel.response_id, "status": answer.status_code}
            if answer.is_success:
                log.info("message_answered", **told)
                return
            if not answer.is_server_error:
                # The receiver's decision, for example because the reply came too late.
                log.warning("message_answer_refused", **told)
                return
            problem = f"status {answer.status_code}"
        log.error("message_answer_lost", response_id=channel.response_id, problem=problem)


def callback_rule(registry: Registry) -> Callable[[str], Awaitable[bool]]:
    """Answers go to loopback and to hosts that have announced a service; nowhere else."""

    async def may_call(host: str) -> bool:
        if is_loopback(host):
            return True
        return host.strip("[]") in {instance.address for instance in await registry.instances()}

    return may_call


def message_routes(inbox: Inbox, room: Room) -> APIRouter:
    """`POST /api/messages` and the stream of what is spoken."""
    router = APIRouter(prefix="/api", tags=["messages"])

    @router.post("/messages", status_code=202)
    async def post_message(message: Message) -> dict[str, str]:
        """Take a message; its answer goes to `respond_to`, or is spoken."""
        await inbox.take(message)
        return {"status": "accepted"}

    @router.get("/spoken", response_class=StreamingResponse, responses={200: EVENT_STREAM})
    async def get_spoken() -> StreamingResponse:
        """Server-sent events with every text that is spoken from now on."""

        async def events() -> AsyncIterator[bytes]:
            yield b": listening\n\n"
            async for text in room.listen():
                yield sse({"text": text})

        headers = {"cache-control": "no-cache"}
        return StreamingResponse(events(), media_type="text/event-stream", headers=headers)

    return router
