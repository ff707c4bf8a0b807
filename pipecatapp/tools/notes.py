"""Notes."""

from typing import ClassVar

from pydantic import Field

from pipecatapp.memory.notes import Notes
from pipecatapp.tools.base import Risk, ToolArguments, ToolContext, ToolError, ToolResult

MAX_NOTE = 4_000  #: characters


class AddNote:
    """Writes a note."""

    name: ClassVar[str] = "add_note"
    aliases: ClassVar[tuple[str, ...]] = ()
    description: ClassVar[str] = "Write a note. Only when the person asks for a note."
    risk: ClassVar[Risk] = Risk.KEEP

    class Arguments(ToolArguments):
        """What to write."""

        text: str = Field(min_length=1, max_length=MAX_NOTE, description="The note, as it was said.")

    def __init__(self, notes: Notes) -> None:
        """`notes`: where they are kept."""
        self._notes = notes

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """The note, as data {"note"} and as text."""
        await self._notes.add(arguments.text)
        return ToolResult({"note": arguments.text}, f"Noted: {arguments.text}")


class ListNotes:
    """Reads the notes out."""

    name: ClassVar[str] = "list_notes"
    aliases: ClassVar[tuple[str, ...]] = ()
    description: ClassVar[str] = "Read the person's notes, all or those with certain words."
    risk: ClassVar[Risk] = Risk.READ

    class Arguments(ToolArguments):
        """Which notes."""

        words: str = Field("", max_length=200, description="Words that they have; left out: all.")

    def __init__(self, notes: Notes) -> None:
        """`notes`: where they are kept."""
        self._notes = notes

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """The notes, oldest first, as data {"notes"} and as text, one to a line."""
        found = list(await self._notes.list(arguments.words))
        about = f" about {arguments.words}" if arguments.words else ""
        text = "\n".join(f"- {note}" for note in found) if found else f"There are no notes{about}."
        return ToolResult({"notes": found}, text)


class DeleteNote:
    """Deletes a note."""

    name: ClassVar[str] = "delete_note"
    aliases: ClassVar[tuple[str, ...]] = ()
    description: ClassVar[str] = "Delete one note. Only when the person asks for it."
    risk: ClassVar[Risk] = Risk.KEEP

    class Arguments(ToolArguments):
        """Which note."""

        words: str = Field(max_length=200, description="Words that only this note has.")

    def __init__(self, notes: Notes) -> None:
        """`notes`: where they are kept."""
        self._notes = notes

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """The deleted note, as data {"note"} and as text. Raises `ToolError` when it is not clear which."""
        found = await self._notes.delete(arguments.words)
        if len(found) != 1:
            problem = f"{len(found)} notes have the words" if found else "no note has the words"
            raise ToolError(f"{problem} {arguments.words!r}; nothing was deleted")
        return ToolResult({"note": found[0]}, f"The note is deleted: {found[0]}")
