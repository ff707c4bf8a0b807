"""Recognise plain requests by pattern, without a model."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, field_validator

from pipecatapp.nodes.base import Node, NodeConfig, NodeContext

MAX_TEXT = 500  #: characters; a longer text is no plain request, and bounds what a pattern may cost

_SAME = str.maketrans("\u2018\u2019\u201c\u201d", "''\"\"")  #: typographic quotes


class Rule(NodeConfig):
    """A tool and the requests it answers."""

    tool: str
    match: str = Field(description="Regular expression for the whole text; named groups become arguments.")
    args: dict[str, Any] = Field({}, description="Further arguments.")

    @field_validator("match")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value


class IntentConfig(NodeConfig):
    """The text and the rules."""

    text: str = Field(description="What the person said.")
    rules: list[Rule] = Field(min_length=1, description="Tried in order; the first that matches wins.")


class IntentNode(Node[IntentConfig]):
    """Finds the tool that answers a plain request exactly, if there is one."""

    type: ClassVar[str] = "intent"
    Config: ClassVar[Any] = IntentConfig
    outputs: ClassVar[dict[str, str]] = {"matched": "bool", "tool": "text", "args": "object"}
    static: ClassVar[frozenset[str]] = frozenset({"rules"})

    async def run(self, config: IntentConfig, context: NodeContext) -> Mapping[str, Any]:
        """See `Node.run`."""
        text = " ".join(config.text.translate(_SAME).split())
        if len(text) <= MAX_TEXT:
            for rule in config.rules:
                if match := re.fullmatch(rule.match, text, re.IGNORECASE):
                    named = {name: value for name, value in match.groupdict().items() if value is not None}
                    return {"matched": True, "tool": rule.tool, "args": {**rule.args, **named}}
        return {"matched": False, "tool": "", "args": {}}
