"""What happens in a turn, and how those who follow it are kept up to date.

A turn never waits for a subscriber. One that does not keep up loses what can be lost, and is told so:

- text and its restarts are never lost: pieces that wait are joined, so a slow reader gets fewer and
  longer ones, and what waits for it is no more than what was said;
- once `BACKLOG` events wait, events of nodes and tools are dropped until everything that waits has been
  read; a `Missed` with their number stands in their place;
- the end of the turn is never lost.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from io import StringIO

from clusterkit.errors import HearthError
from pipecatapp.runs.events import Chunk, Restarted, RunEvent
from pipecatapp.runs.records import RunResult

BACKLOG = 500  #: events that wait for one subscriber before some are dropped


@dataclass(frozen=True)
class Missed:
    """The subscriber was too slow for so many events of nodes and tools."""

    count: int


@dataclass(frozen=True)
class TurnAnswered:
    """The turn is over; nothing comes after this."""

    result: RunResult


@dataclass(frozen=True)
class TurnFailed:
    """The turn is over without an answer; nothing comes after this."""

    error: HearthError


TurnEnd = TurnAnswered | TurnFailed
TurnEvent = RunEvent | Missed | TurnEnd


class _Joined:
    """Text that waits for one who is slow to read it."""

    def __init__(self, path: str) -> None:
        self.path, self._text = path, StringIO()

    def add(self, text: str) -> None:
        self._text.write(text)

    def as_chunk(self) -> Chunk:
        return Chunk(self.path, self._text.getvalue())


class Subscription:
    """One subscriber's events of a turn, from when it subscribed to the turn's end; for one reader."""

    def __init__(self) -> None:
        """Made by `RunningTurn.subscribe`."""
        self._waiting: deque[TurnEvent | _Joined] = deque()
        self._missed = 0
        self._ended = False
        self._news = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many events wait to be read."""
        return len(self._waiting)

    def put(self, event: TurnEvent) -> None:
        """Take in what happened. Never waits."""
        if isinstance(event, Chunk):
            self._put_text(event)
        elif isinstance(event, TurnAnswered | TurnFailed):
            self._note_missed()
            self._waiting.append(event)
        elif isinstance(event, Restarted) or not self._is_behind:
            self._waiting.append(event)
        else:
            self._missed += 1
        self._news.set()

    @property
    def _is_behind(self) -> bool:
        return self._missed > 0 or len(self._waiting) >= BACKLOG

    def _put_text(self, chunk: Chunk) -> None:
        if not self._is_behind:
            self._waiting.append(chunk)
            return
        last = self._waiting[-1] if self._waiting else None
        if not isinstance(last, _Joined) or last.path != chunk.path:
            last = _Joined(chunk.path)
            self._waiting.append(last)
        last.add(chunk.text)

    def _note_missed(self) -> None:
        if self._missed:
            self._waiting.append(Missed(self._missed))
            self._missed = 0

    def __aiter__(self) -> "Subscription":
        """Itself."""
        return self

    async def __anext__(self) -> TurnEvent:
        """The next event; ends after the turn's end."""
        if self._ended:
            raise StopAsyncIteration
        while not self._waiting:
            self._note_missed()
            if not self._waiting:
                self._news.clear()
                await self._news.wait()
        event = self._waiting.popleft()
        if isinstance(event, _Joined):
            return event.as_chunk()
        self._ended = isinstance(event, TurnAnswered | TurnFailed)
        return event
