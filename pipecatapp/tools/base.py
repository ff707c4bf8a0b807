"""What a tool is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from clusterkit.clock import Clock
from pipecatapp.workflow.errors import ErrorCode, NodeError


class Risk(StrEnum):
    """The worst that a tool can do."""

    READ = "read"
    KEEP = "keep"  # keeps or forgets what a person asked the agent to keep, in the agent's own database
    WRITE = "write"
    HOST = "host"  # runs programs or changes the machine
    IRREVERSIBLE = "irreversible"


class ToolError(NodeError):
    """A tool could not do its work; the message is fit for the model and for a person."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.TOOL_FAILED) -> None:
        """`code` is one of the tool codes."""
        super().__init__(code, message)


class ToolArguments(BaseModel):
    """The base of every tool's arguments: nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class ToolResult:
    """What a tool found out: data for programs and a short exact text for people and models."""

    data: Any  #: plain JSON data
    text: str


@dataclass(frozen=True)
class ToolContext:
    """What every tool may use."""

    clock: Clock
    zone: tzinfo | None = None  #: the household's time zone; None for this machine's own


class Tool(Protocol):
    """One tool. `run` raises `ToolError`, and never returns a failure as text."""

    name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]]
    description: ClassVar[str]  #: for the model: what it does and when to use it
    risk: ClassVar[Risk]

    @property
    def Arguments(self) -> type[BaseModel]:
        """What the tool can be given."""
        ...

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult:
        """Do the work. `arguments` is an instance of `Arguments`."""
        ...


def function_schema(tool: Tool) -> Mapping[str, Any]:
    """A tool in the form that OpenAI chat requests list it."""
    schema = tool.Arguments.model_json_schema()
    schema.pop("title", None)
    schema.pop("description", None)
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": schema},
    }
