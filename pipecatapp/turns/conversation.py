"""The conversation with the agent: who hears what it speaks, and how much of a history still fits."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

LISTENER_BACKLOG = 100  #: spoken texts kept for a listener that does not read
#: Characters of the conversation so far per token of the model's context. English takes about four
#: characters a token; half of the context is left for the question, the tools and the answer.
CHARACTERS_PER_TOKEN_OF_CONTEXT = 1.5


class Conversation:
    """Who hears what is spoken: the open chat pages now, loudspeakers with the voice pipeline."""

    def __init__(self) -> None:
        """Nobody listens yet."""
        self._listeners: set[asyncio.Queue[str | None]] = set()
        self._heard = asyncio.Event()  # set while there is a listener

    def speak(self, text: str) -> None:
        """Speak to everybody; a listener that is far behind misses the oldest of it."""
        self._pass_on(text)

    def close(self) -> None:
        """End what everybody listens to."""
        self._pass_on(None)

    def _pass_on(self, text: str | None) -> None:
        for listener in self._listeners:
            if listener.full():
                listener.get_nowait()
            listener.put_nowait(text)

    async def listen(self) -> AsyncIterator[str]:
        """What is spoken from now on, until the conversation is closed."""
        backlog: asyncio.Queue[str | None] = asyncio.Queue(LISTENER_BACKLOG)
        self._listeners.add(backlog)
        self._heard.set()
        try:
            while (text := await backlog.get()) is not None:
                yield text
        finally:
            self._listeners.discard(backlog)
            if not self._listeners:
                self._heard.clear()

    async def wait_for_listener(self) -> None:
        """Return when somebody listens, at once if so already."""
        await self._heard.wait()


def recent(
    history: Sequence[dict[str, Any]], context: int | None, question: str = ""
) -> list[dict[str, Any]]:
    """The latest part of a conversation that fits, with the question, a context of so many tokens.

    All of it when the context is not known.
    """
    if context is None:
        return list(history)
    space = context * CHARACTERS_PER_TOKEN_OF_CONTEXT - len(question)
    kept: list[dict[str, Any]] = []
    for message in reversed(history):
        space -= len(message["content"])
        if space < 0:
            break
        kept.append(message)
    kept.reverse()
    # An answer without its question would confuse the model more than its absence.
    while kept and kept[0]["role"] == "assistant":
        kept.pop(0)
    return kept
