"""What the run says to the person."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from pipecatapp.nodes.base import Node, NodeConfig, NodeContext


class OutputConfig(NodeConfig):
    """The text, and whether it is heard while it is being made."""

    text: str = Field(description="What to say.")
    stream: bool = Field(False, description="Pass the text on piece by piece while it is written.")


class OutputNode(Node[OutputConfig]):
    """Gives the text to whoever listens to the run."""

    type: ClassVar[str] = "output"
    Config: ClassVar[Any] = OutputConfig
    outputs: ClassVar[dict[str, str]] = {"text": "text"}
    static: ClassVar[frozenset[str]] = frozenset({"stream"})
    passes_on: ClassVar[str | None] = "text"

    async def run(self, config: OutputConfig, context: NodeContext) -> Mapping[str, Any]:
        """See `Node.run`; what has flowed through already is not said twice."""
        await context.emit(config.text)
        return {"text": config.text}
