"""Notes: texts that are kept as they were said, in order."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clusterkit.clock import Clock
from clusterkit.storage.database import Database
from pipecatapp.memory.tables import as_text, notes
from pipecatapp.memory.words import keywords


class Notes:
    """The notes of the household. Everything raises `StorageError`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """`database` has the tables of `pipecatapp.memory.tables`."""
        self._database, self._clock = database, clock

    async def add(self, text: str) -> None:
        """Keep a note."""
        values = {"text": text, "written": as_text(self._clock.now())}
        await self._database.write(lambda connection: connection.execute(sa.insert(notes).values(values)))

    async def list(self, words: str = "") -> Sequence[str]:
        """The notes that have all of `words`, oldest first; all without words."""
        asked = keywords(words)
        return [text for _, text in await self._database.read(_oldest_first) if asked <= keywords(text)]

    async def delete(self, words: str) -> Sequence[str]:
        """Delete the note that has all of `words`; returns those that have. Of several none is deleted."""
        asked = keywords(words)

        def write(connection: Connection) -> Sequence[str]:
            fitting = [row for row in _oldest_first(connection) if asked and asked <= keywords(row[1])]
            if len(fitting) == 1:
                connection.execute(sa.delete(notes).where(notes.c.id == fitting[0][0]))
            return [text for _, text in fitting]

        return await self._database.write(write)


def _oldest_first(connection: Connection) -> Sequence[tuple[int, str]]:
    rows = connection.execute(sa.select(notes.c.id, notes.c.text).order_by(notes.c.id))
    return [(row.id, row.text) for row in rows]
