"""The shopping list."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from pipecatapp.memory.shopping import ShoppingList
from pipecatapp.memory.words import split_items
from pipecatapp.tools.base import Risk, ToolArguments, ToolContext, ToolError, ToolResult

EVERYTHING = frozenset({"everything", "all", "all items"})


class ListAdd:
    """Puts things on the shopping list."""

    name: ClassVar[str] = "list_add"
    aliases: ClassVar[tuple[str, ...]] = ()
    description: ClassVar[str] = "Put things on the shopping list. Only when the person asks for it."
    risk: ClassVar[Risk] = Risk.KEEP

    class Arguments(ToolArguments):
        """What to put there."""

        items: str = Field(max_length=500, description="The things: milk, eggs and two loaves of bread.")

    def __init__(self, shopping: ShoppingList) -> None:
        """`shopping`: the list."""
        self._shopping = shopping

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """What is new on the list, as data {"added", "there"} and as text. Raises `ToolError`."""
        items = split_items(arguments.items)
        if not items:
            raise ToolError(f"there is nothing to buy in {arguments.items!r}; the list is as it was")
        added = list(await self._shopping.add(items))
        there = [item for item in items if item not in added]
        parts = [f"{_both(added)} {_are(added)} on the shopping list now."] if added else []
        parts += [f"{_both(there)} {_are(there)} on the shopping list already."] if there else []
        return ToolResult(
            {"added": added, "there": there}, " ".join(part[0].upper() + part[1:] for part in parts)
        )


class ListRemove:
    """Takes things off the shopping list."""

    name: ClassVar[str] = "list_remove"
    aliases: ClassVar[tuple[str, ...]] = ()
    description: ClassVar[str] = "Take things off the shopping list. Only when the person asks for it."
    risk: ClassVar[Risk] = Risk.KEEP

    class Arguments(ToolArguments):
        """What to take off."""

        items: str = Field(max_length=500, description="The things: milk and eggs; or: everything.")

    def __init__(self, shopping: ShoppingList) -> None:
        """`shopping`: the list."""
        self._shopping = shopping

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """What is off the list, as data {"removed"} and as text. Raises `ToolError` when nothing is."""
        if arguments.items.strip().lower() in EVERYTHING:
            removed = list(await self._shopping.clear())
            return ToolResult({"removed": removed}, "The shopping list is empty now.")
        removed = list(await self._shopping.remove(split_items(arguments.items)))
        if not removed:
            raise ToolError(f"{arguments.items} is not on the shopping list; the list is as it was")
        text = f"{_both(removed)} {_are(removed)} off the shopping list."
        return ToolResult({"removed": removed}, text[0].upper() + text[1:])


class ListShow:
    """Reads the shopping list out."""

    name: ClassVar[str] = "list_show"
    aliases: ClassVar[tuple[str, ...]] = ()
    description: ClassVar[str] = "Say what is on the shopping list."
    risk: ClassVar[Risk] = Risk.READ

    class Arguments(ToolArguments):
        """Nothing to choose."""

    def __init__(self, shopping: ShoppingList) -> None:
        """`shopping`: the list."""
        self._shopping = shopping

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """The list, as data {"items"} and as text, one thing to a line."""
        items = list(await self._shopping.items())
        text = "\n".join(f"- {item}" for item in items) if items else "The shopping list is empty."
        return ToolResult({"items": items}, text)


def _both(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _are(items: Sequence[str]) -> str:
    return "is" if len(items) == 1 else "are"
