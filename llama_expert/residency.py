"""Which models are in memory: who is loaded, who leaves, who admits no new request. Pure.

Models take turns in one line, first come, first served: whoever is at its head gets memory before anybody
behind, so that none starves. Those that leave for it are the replaced ones first, then the least recently
used. A model with running requests is never ended for another; it only admits no new ones until it is free.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What holds for all models together; times in seconds."""

    budget_mb: int
    idle: float | None = None  #: an unused model leaves after so long; None keeps it
    drain: float = 300.0  #: what running requests get at most on a model that nobody is sent to any more


@dataclass(frozen=True, kw_only=True)
class Resident(Generic[K]):
    """A model that takes memory; `loaded` is False while it cannot answer yet, or is ending."""

    key: K
    needed_mb: int
    loaded: bool = True
    ending: bool = False
    busy: int = 0  #: requests running on it
    last_used: float = 0.0  #: monotonic seconds
    pinned: bool = False  #: never leaves for another, nor for being idle
    replaced: bool = False  #: every expert that it serves is to get another model
    dismissed: bool = False  #: a person wants it out of memory
    retired_since: float | None = None  #: since when nobody is sent to it any more, for good


@dataclass(frozen=True)
class Wish(Generic[K]):
    """A model that is wanted in memory."""

    key: K
    needed_mb: int


@dataclass(frozen=True)
class Decision(Generic[K]):
    """What is to be done now. `look_again_in` seconds something becomes due by itself; None is never."""

    load: tuple[K, ...]
    end: tuple[K, ...]
    closed: frozenset[K]  #: these admit no new request at present
    look_again_in: float | None


def decide(
    limits: Limits,
    residents: Sequence[Resident[K]],
    line: Sequence[Wish[K]],
    standing: Sequence[Wish[K]],
    now: float,
) -> Decision[K]:
    """Decide about memory at the monotonic second `now`.

    `line` are the wishes in the order in which they were made, for models that are there as well;
    `standing` are loaded where memory is free and nobody in the line waits for it.
    """
    turn = _Turn(limits, residents, {wish.key for wish in line}, now)
    placed = turn.serve(line)
    if placed:
        for wish in standing:
            turn.place(wish)
    return Decision(tuple(turn.load), tuple(turn.end), frozenset(turn.closed), turn.due)


class _Turn(Generic[K]):
    """One decision in the making."""

    def __init__(self, limits: Limits, residents: Sequence[Resident[K]], wished: set[K], now: float) -> None:
        self._residents = {resident.key: resident for resident in residents}
        self._left = limits.budget_mb - sum(resident.needed_mb for resident in residents)
        pinned = sum(resident.needed_mb for resident in residents if _stays(resident))
        self._attainable = limits.budget_mb - pinned
        self.load: list[K] = []
        self.end: list[K] = []
        self.closed: set[K] = set()
        self.due: float | None = None
        for resident in residents:
            if resident.ending:
                self.closed.add(resident.key)
            elif resident.retired_since is not None:
                self._leave(resident, resident.retired_since + limits.drain - now)
            elif resident.dismissed:
                self._leave(resident, None)
            elif limits.idle is not None and _may_idle(resident) and resident.key not in wished:
                self._leave_when(resident, resident.last_used + limits.idle - now)

    def serve(self, line: Sequence[Wish[K]]) -> bool:
        """Place the wishes in order; False when one has to wait, and nobody may overtake it."""
        before: set[K] = set()
        for wish in line:
            resident = self._residents.get(wish.key)
            here = resident is not None and wish.key not in self.end and not resident.ending
            before.add(wish.key)
            if here or wish.key in self.load:
                continue
            if resident is None and wish.needed_mb > self._attainable:
                continue  # it will never fit; those behind need not wait for that
            if not self.place(wish):
                self._make_room(wish, before)
                return False
        return True

    def place(self, wish: Wish[K]) -> bool:
        """Load what is wished where memory is free for it."""
        if wish.key in self._residents or wish.key in self.load:
            return False
        if wish.needed_mb > self._left:
            return False
        self.load.append(wish.key)
        self._left -= wish.needed_mb
        return True

    def _make_room(self, wish: Wish[K], before: set[K]) -> None:
        """Have others leave for `wish`; nobody leaves as long as that would not be enough."""
        coming = self._left + sum(
            one.needed_mb for one in self._residents.values() if one.ending or one.key in self.closed
        )
        leaving: list[Resident[K]] = []
        candidates = [
            one
            for one in self._residents.values()
            if one.loaded and not one.pinned and one.key not in self.closed and one.key not in before
        ]
        for one in sorted(candidates, key=lambda one: (not one.replaced, one.busy > 0, one.last_used)):
            if wish.needed_mb <= coming:
                break
            leaving.append(one)
            coming += one.needed_mb
        if wish.needed_mb <= coming:
            for one in leaving:
                self._leave(one, None)

    def _leave(self, resident: Resident[K], cut_in: float | None) -> None:
        """Admit nobody; end once nothing runs on it, or in `cut_in` seconds at the latest."""
        self.closed.add(resident.key)
        if resident.busy == 0 or (cut_in is not None and cut_in <= 0):
            self.end.append(resident.key)
        elif cut_in is not None:
            self._due_in(cut_in)

    def _leave_when(self, resident: Resident[K], seconds: float) -> None:
        if seconds <= 0:
            self._leave(resident, None)
        else:
            self._due_in(seconds)

    def _due_in(self, seconds: float) -> None:
        self.due = seconds if self.due is None else min(self.due, seconds)


def _stays(resident: Resident[K]) -> bool:
    return resident.pinned and resident.retired_since is None and not resident.dismissed


def _may_idle(resident: Resident[K]) -> bool:
    return resident.loaded and resident.busy == 0 and not resident.pinned
