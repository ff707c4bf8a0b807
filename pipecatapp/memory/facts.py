"""Facts that a person asked to keep: once each, the newest word about a thing counts, found by words."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clusterkit.clock import Clock
from clusterkit.storage.database import Database
from pipecatapp.memory.tables import as_text, facts
from pipecatapp.memory.words import KINDS, keywords, similarity, subject

SIMILAR = 0.6  #: share of the words of a question that a fact must have to be an answer
MOST = 10  #: facts told at once


@dataclass(frozen=True)
class Remembered:
    """What keeping a fact changed: `before` is the fact that it replaced, or the same one."""

    text: str
    before: str | None

    @property
    def was_known(self) -> bool:
        """Whether nothing changed."""
        return self.before is not None and keywords(self.before) == keywords(self.text)


class Facts:
    """The facts of the household. Everything raises `StorageError`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """`database` has the tables of `pipecatapp.memory.tables`."""
        self._database, self._clock = database, clock

    async def remember(self, text: str) -> Remembered:
        """Keep a fact, in place of what was kept about the same."""
        about, told = subject(text), as_text(self._clock.now())

        def write(connection: Connection) -> Remembered:
            chosen = facts.c.subject == about
            before = connection.execute(sa.select(facts.c.text).where(chosen)).scalar_one_or_none()
            values = {"text": text, "told": told}
            if before is None:
                connection.execute(sa.insert(facts).values(subject=about, **values))
            else:
                connection.execute(sa.update(facts).where(chosen).values(**values))
            return Remembered(text, before)

        return await self._database.write(write)

    async def recall(self, question: str) -> Sequence[str]:
        """The facts that answer a question, the best first; the newest ones for a question without words."""
        asked = keywords(question)
        known = [text for _, _, text in await self._database.read(_newest_first)]
        if not asked:
            return known[:MOST]
        scored = [(similarity(asked, text), text) for text in known]
        best = max((score for score, _ in scored), default=0.0)
        return [text for score, text in scored if score == best >= SIMILAR][:MOST]

    async def forget(self, words: str) -> Sequence[str]:
        """Forget the fact that has all of `words`; returns those that have.

        Of several the one about nothing else is meant. When that leaves several, nothing is forgotten.
        """
        asked = keywords(words)

        def write(connection: Connection) -> Sequence[str]:
            known = _newest_first(connection)
            fitting = [row for row in known if asked and asked <= keywords(row[2])]
            exact = [row for row in fitting if set(row[1].split()) - KINDS == asked]
            meant = exact if len(exact) == 1 else fitting
            if len(meant) == 1:
                connection.execute(sa.delete(facts).where(facts.c.id == meant[0][0]))
            return [text for _, _, text in meant]

        return await self._database.write(write)


def _newest_first(connection: Connection) -> Sequence[tuple[int, str, str]]:
    rows = connection.execute(sa.select(facts).order_by(facts.c.told.desc(), facts.c.id.desc()))
    return [(row.id, row.subject, row.text) for row in rows]
