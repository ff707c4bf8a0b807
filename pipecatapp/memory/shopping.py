"""The shopping list: each thing once, in the order in which they were put on it."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clusterkit.storage.database import Database
from pipecatapp.memory.tables import list_items
from pipecatapp.memory.words import keywords


class ShoppingList:
    """The list of the household. Everything raises `StorageError`."""

    def __init__(self, database: Database) -> None:
        """`database` has the tables of `pipecatapp.memory.tables`."""
        self._database = database

    async def add(self, items: Sequence[str]) -> Sequence[str]:
        """Put things on the list; returns those that were not on it."""

        def write(connection: Connection) -> Sequence[str]:
            there = {_key(text) for _, text in _in_order(connection)}
            added: list[str] = []
            for text in items:
                if _key(text) not in there:
                    connection.execute(sa.insert(list_items).values(item=_key(text), text=text))
                    there.add(_key(text))
                    added.append(text)
            return added

        return await self._database.write(write)

    async def remove(self, items: Sequence[str]) -> Sequence[str]:
        """Take things off the list, each by its words; returns what was taken off."""
        asked = [keywords(text) for text in items]

        def write(connection: Connection) -> Sequence[str]:
            gone = [
                row for row in _in_order(connection) if any(one and one <= keywords(row[1]) for one in asked)
            ]
            for number, _ in gone:
                connection.execute(sa.delete(list_items).where(list_items.c.id == number))
            return [text for _, text in gone]

        return await self._database.write(write)

    async def clear(self) -> Sequence[str]:
        """Take everything off the list; returns what was on it."""

        def write(connection: Connection) -> Sequence[str]:
            gone = [text for _, text in _in_order(connection)]
            connection.execute(sa.delete(list_items))
            return gone

        return await self._database.write(write)

    async def items(self) -> Sequence[str]:
        """What is on the list."""
        return [text for _, text in await self._database.read(_in_order)]


def _key(text: str) -> str:
    return " ".join(sorted(keywords(text))) or text.lower()


def _in_order(connection: Connection) -> Sequence[tuple[int, str]]:
    rows = connection.execute(sa.select(list_items.c.id, list_items.c.text).order_by(list_items.c.id))
    return [(row.id, row.text) for row in rows]
