"""Facts that a person asks to keep."""

from typing import ClassVar

from pydantic import Field

from pipecatapp.memory.facts import Facts
from pipecatapp.memory.words import keywords, to_you
from pipecatapp.tools.base import Risk, ToolArguments, ToolContext, ToolError, ToolResult

MAX_FACT = 1_000  #: characters


class Remember:
    """Keeps a fact."""

    name: ClassVar[str] = "remember"
    aliases: ClassVar[tuple[str, ...]] = ()
    description: ClassVar[str] = (
        "Keep a fact for later. Only when the person asks to remember something; never for a question."
    )
    risk: ClassVar[Risk] = Risk.KEEP

    class Arguments(ToolArguments):
        """What to keep."""

        fact: str = Field(max_length=MAX_FACT, description="A sentence: the wifi password is on the fridge.")

    def __init__(self, facts: Facts) -> None:
        """`facts`: where they are kept."""
        self._facts = facts

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """What changed, as data {"fact", "replaced", "known"} and as text. Raises `ToolError`."""
        fact = arguments.fact.strip(" .")
        if not keywords(fact):
            raise ToolError(f"there is nothing to remember in {arguments.fact!r}; nothing was kept")
        kept = await self._facts.remember(fact)
        data = {"fact": fact, "replaced": None if kept.was_known else kept.before, "known": kept.was_known}
        if kept.was_known:
            return ToolResult(data, f"I knew that already: {to_you(fact)}.")
        text = f"I will remember that {to_you(fact)}."
        if kept.before is not None:
            text += f" I have forgotten that {to_you(kept.before)}."
        return ToolResult(data, text)


class Recall:
    """Tells what it was told."""

    name: ClassVar[str] = "recall"
    aliases: ClassVar[tuple[str, ...]] = ()
    description: ClassVar[str] = (
        "Look up what the person asked to remember. Use it for questions about them and their home."
    )
    risk: ClassVar[Risk] = Risk.READ

    class Arguments(ToolArguments):
        """What is asked."""

        question: str = Field(
            "", max_length=MAX_FACT, description="What to look for: wifi password. Left out: everything."
        )

    def __init__(self, facts: Facts) -> None:
        """`facts`: where they are kept."""
        self._facts = facts

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """The facts found, as data {"facts"} and as text."""
        found = list(await self._facts.recall(arguments.question))
        if not found:
            about = f" about {to_you(arguments.question)}" if keywords(arguments.question) else ""
            return ToolResult({"facts": []}, f"I have not been told anything{about}.")
        told = [f"{one[:1].upper()}{one[1:]}." for one in map(to_you, found)]
        text = told[0] if len(told) == 1 else "\n".join(f"- {one}" for one in told)
        return ToolResult({"facts": found}, text)


class Forget:
    """Forgets a fact."""

    name: ClassVar[str] = "forget"
    aliases: ClassVar[tuple[str, ...]] = ()
    description: ClassVar[str] = (
        "Forget something that the person asked to remember. Only when they ask for it."
    )
    risk: ClassVar[Risk] = Risk.KEEP

    class Arguments(ToolArguments):
        """What to forget."""

        fact: str = Field(max_length=MAX_FACT, description="Words of the fact: wifi password.")

    def __init__(self, facts: Facts) -> None:
        """`facts`: where they are kept."""
        self._facts = facts

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """What was forgotten, as data {"fact"} and as text. Raises `ToolError` when that is not clear."""
        found = await self._facts.forget(arguments.fact)
        if not found:
            raise ToolError(f"I was told nothing about {arguments.fact!r}; nothing was forgotten")
        if len(found) > 1:
            choices = "; ".join(to_you(fact) for fact in found)
            raise ToolError(f"several facts fit {arguments.fact!r} ({choices}); nothing was forgotten")
        return ToolResult({"fact": found[0]}, f"I have forgotten that {to_you(found[0])}.")
