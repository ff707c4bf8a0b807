"""Messages that are answered later, and not on the connection that brought them.

A message with a callback is answered there and is not spoken. A message without one is spoken to
everybody in the conversation.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from clusterkit.config.settings import is_loopback
from clusterkit.errors import HearthError
from clusterkit.http.principal import Principal
from clusterkit.ports.registry import Registry
from pipecatapp.turns.conversation import Conversation
from pipecatapp.turns.errors import ForeignCallback, TooManyMessages
from pipecatapp.turns.turns import Turn, Turns

MAX_MESSAGES = 64  #: messages under way at once

log = structlog.get_logger()


@dataclass(frozen=True)
class Callback:
    """Where the answer to a message goes, and the proof that it is the answer."""

    response_id: str
    url: str
    host: str  #: of the URL; '' when it has none
    secret: str = field(repr=False)  #: of this one message


@dataclass(frozen=True)
class InboxMessage:
    """Something said to the agent."""

    text: str
    respond_to: Callback | None = None


#: Bring an answer (`text`, or `error` with `code` and `message`) to a callback. Raises nothing: who
#: cannot be reached in the end is a matter for the log.
Deliver = Callable[[Callback, Mapping[str, Any]], Awaitable[None]]


class Inbox:
    """Takes messages, runs their turns and sees to it that each answer reaches its callback."""

    def __init__(
        self,
        *,
        turns: Turns,
        conversation: Conversation,
        deliver: Deliver,
        may_call: Callable[[str], Awaitable[bool]],
    ) -> None:
        """`may_call` says whether answers may be sent to a host."""
        self._turns, self._conversation = turns, conversation
        self._deliver, self._may_call = deliver, may_call
        self._under_way: set[asyncio.Task[None]] = set()

    async def take(self, message: InboxMessage, *, principal: Principal) -> None:
        """Begin to work on `message`. Raises `TooManyMessages` or `ForeignCallback`."""
        if len(self._under_way) >= MAX_MESSAGES:
            raise TooManyMessages
        callback = message.respond_to
        if callback is not None and not await self._may_call(callback.host):
            raise ForeignCallback(callback.host)
        task = asyncio.create_task(self._answer(message, principal), name="message")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Stop what is under way."""
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def _answer(self, message: InboxMessage, principal: Principal) -> None:
        answer: dict[str, Any]
        try:
            async with self._turns.run(Turn(message.text), principal=principal) as running:
                answer = {"text": "".join([piece async for piece in running.pieces()])}
        except HearthError as error:
            log.warning("message_not_answered", code=error.code, problem=str(error))
            answer = {"error": {"code": error.code, "message": str(error)}}
        if message.respond_to is not None:
            await self._deliver(message.respond_to, answer)
        elif "text" in answer:
            self._conversation.speak(answer["text"])


def callback_rule(registry: Registry) -> Callable[[str], Awaitable[bool]]:
    """Answers go to loopback and to hosts that have announced a service; nowhere else."""

    async def may_call(host: str) -> bool:
        if is_loopback(host):
            return True
        return host.strip("[]") in {instance.address for instance in await registry.instances()}

    return may_call
