"""Recognise exact commands by their sentences, without a model."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from pipecatapp.nodes.base import Node, NodeConfig, NodeContext
from pipecatapp.workflow.errors import ErrorCode, NodeError


class IntentConfig(NodeConfig):
    """The text and the language of the sentences."""

    text: str = Field(description="What the person said.")
    sentences: str = Field(
        description="The language of the sentences: those that come with Hearth, and before them a "
        "person's own, which are the files in `sentences/LANGUAGE` of Hearth's folder."
    )


class IntentNode(Node[IntentConfig]):
    """Finds the tool that answers an exact command, if there is one."""

    type: ClassVar[str] = "intent"
    Config: ClassVar[Any] = IntentConfig
    outputs: ClassVar[dict[str, str]] = {"matched": "bool", "tool": "text", "args": "object"}

    async def run(self, config: IntentConfig, context: NodeContext) -> Mapping[str, Any]:
        """See `Node.run`."""
        grammar = context.grammars.get(config.sentences)
        if grammar is None:
            known = ", ".join(sorted(context.grammars)) or "none"
            raise NodeError(
                ErrorCode.INVALID_CONFIG, f"there are no sentences in {config.sentences!r} (known: {known})"
            )
        command = grammar.recognise(config.text)
        if command is None:
            return {"matched": False, "tool": "", "args": {}}
        return {"matched": True, "tool": command.tool, "args": dict(command.args)}
