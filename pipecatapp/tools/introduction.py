"""Who answers, and what it can do."""

from collections.abc import Sequence
from typing import ClassVar

from pipecatapp.tools.base import Risk, ToolArguments, ToolContext, ToolResult

#: What a person gets from a tool. A tool that is not there is not spoken of.
_ABILITIES = {
    "calculator": "work things out exactly",
    "convert": "convert units",
    "clock": "tell the time here and elsewhere",
    "set_timer": "set timers and reminders",
    "remember": "remember what you tell me",
    "add_note": "take notes",
    "list_add": "keep the shopping list",
    "system_status": "say how this Hearth is doing",
}


class Introduction:
    """Says who it is and what it can do."""

    name: ClassVar[str] = "introduction"
    aliases: ClassVar[tuple[str, ...]] = ()
    description: ClassVar[str] = "Say who you are and what you can do."
    risk: ClassVar[Risk] = Risk.READ

    class Arguments(ToolArguments):
        """Nothing to choose."""

    def __init__(self, household: str, tools: Sequence[str]) -> None:
        """`household`: its name, which may be empty; `tools`: the names of those that there are."""
        self._household, self._tools = household, tools

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """Who it is, as data {"name", "household", "abilities"} and as text."""
        abilities = abilities_of(self._tools)
        data = {"name": "Hearth", "household": self._household, "abilities": abilities}
        whose = (
            f"the assistant of {self._household}" if self._household else "the assistant of this household"
        )
        text = f"I am Hearth, {whose}. I run on your own machines, and nothing you say leaves them."
        if abilities:
            text += f" I can {', '.join(abilities[:-1])}{' and ' if abilities[:-1] else ''}{abilities[-1]}."
        return ToolResult(data, f"{text} Ask me anything else, too.")


def abilities_of(tools: Sequence[str]) -> list[str]:
    """What a person gets from `tools`, in words that follow `I can`."""
    return [ability for tool, ability in _ABILITIES.items() if tool in tools]
