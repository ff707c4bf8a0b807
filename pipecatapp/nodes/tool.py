"""Run one tool."""

from typing import Any, ClassVar

from pydantic import Field

from pipecatapp.nodes.base import Node, NodeConfig, NodeContext
from pipecatapp.tools.base import ToolError
from pipecatapp.workflow.errors import ErrorCode


class ToolConfig(NodeConfig):
    """Which tool, with what."""

    tool: str = Field(description="The tool's name.")
    args: Any = Field({}, description="Its arguments, an object.")
    call_id: str = Field("", description="The id of the model's tool call that this answers.")
    allow: list[str] | None = Field(None, description="Only these tools may run; left out: any.")


class ToolNode(Node[ToolConfig]):
    """Runs a tool; fails when the tool does."""

    type: ClassVar[str] = "tool"
    Config: ClassVar[Any] = ToolConfig
    outputs: ClassVar[dict[str, str]] = {"message": "message", "text": "text", "data": "any"}

    async def run(self, config: ToolConfig, context: NodeContext) -> dict[str, Any]:
        """See `Node.run`."""
        if config.allow is not None and config.tool not in config.allow:
            offered = ", ".join(config.allow) or "none"
            raise ToolError(
                f"tool {config.tool!r} is not offered here (offered: {offered})", ErrorCode.UNKNOWN_TOOL
            )
        result = await context.tools.call(config.tool, config.args)
        message = {"role": "tool", "tool_call_id": config.call_id, "content": result.text}
        return {"message": message, "text": result.text, "data": result.data}
