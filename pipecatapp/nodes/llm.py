"""Ask a language model."""

import json
from collections.abc import Awaitable, Callable, Sequence
from io import StringIO
from typing import Annotated, Any, ClassVar

from pydantic import Field

from clusterkit.llm.chat import ChatCall, ModelReply, ToolRequest
from pipecatapp.nodes.base import Node, NodeConfig, NodeContext, Tools
from pipecatapp.nodes.reasoning import HiddenReasoning
from pipecatapp.workflow.errors import ErrorCode, NodeError
from pipecatapp.workflow.spec import Wire


class LlmConfig(NodeConfig):
    """What to ask whom."""

    model: str = Field(min_length=1, description="An expert's name, or a model the gateway knows.")
    messages: Annotated[list[dict[str, Any]], Wire("messages")] = Field(
        min_length=1, description="The conversation, oldest first."
    )
    tools: list[str] = Field([], description="Names of the tools the model may ask for.")
    temperature: float | None = Field(None, ge=0, le=2, description="0 always takes the likeliest token.")
    max_tokens: int | None = Field(None, ge=1, description="Longest answer, in tokens.")
    # "Let me look that up." and the like; on an old machine every ten tokens more are a second's wait.
    hold_back: int = Field(
        40, ge=0, description="With tools: characters held back until it is clear that this is the answer."
    )


class LlmNode(Node[LlmConfig]):
    """Asks a model, with tools if wished; its text flows on while it is written, without what it thinks."""

    type: ClassVar[str] = "llm"
    Config: ClassVar[Any] = LlmConfig
    outputs: ClassVar[dict[str, str]] = {
        "text": "stream[text]",
        "message": "message",
        "tool_calls": "list[tool_call]",
        "usage": "object",
        "finish_reason": "text",
    }

    async def run(self, config: LlmConfig, context: NodeContext) -> dict[str, Any]:
        """See `Node.run`."""
        held = _HoldBack(config.hold_back if config.tools else 0, context.emit)
        reasoning, said = HiddenReasoning(), StringIO()

        async def say(text: str) -> None:
            if text:
                said.write(text)
                await held.add(text)

        async def on_text(piece: str) -> None:
            context.alive()
            await say(reasoning.add(piece))

        call = ChatCall(
            model=config.model,
            messages=config.messages,
            tools=context.tools.schemas(config.tools),
            temperature=config.temperature,
            max_tokens=config.max_tokens,
        )
        reply = await context.models.chat(call, on_text)
        await say(reasoning.end())
        text = said.getvalue()
        if not reply.tool_requests:
            if not text and reasoning.hid_something:
                problem = f"model {config.model!r} thought about it and came to no answer"
                raise NodeError(ErrorCode.INVALID_OUTPUT, problem)
            await held.release()
        return {
            "text": text,
            "message": _message(text, reply.tool_requests),
            "tool_calls": _tool_calls(reply, context.tools),
            "usage": {"tokens_in": reply.tokens_in, "tokens_out": reply.tokens_out},
            "finish_reason": reply.finish_reason,
        }


class _HoldBack:
    """Keeps the first characters: a model that is about to call a tool often says so first."""

    def __init__(self, limit: int, emit: Callable[[str], Awaitable[None]]) -> None:
        self._limit, self._emit = limit, emit
        self._held: list[str] | None = []

    async def add(self, piece: str) -> None:
        if self._held is None:
            await self._emit(piece)
            return
        self._held.append(piece)
        if sum(map(len, self._held)) > self._limit:
            await self.release()

    async def release(self) -> None:
        held, self._held = self._held or [], None
        for piece in held:
            await self._emit(piece)


def _message(text: str, requests: Sequence[ToolRequest]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if requests:
        message["tool_calls"] = [
            {
                "id": request.id,
                "type": "function",
                "function": {"name": request.name, "arguments": request.arguments},
            }
            for request in requests
        ]
    return message


def _tool_calls(reply: ModelReply, tools: Tools) -> Sequence[dict[str, Any]]:
    return [
        {
            "id": request.id,
            "name": request.name,
            "args": _parsed(request.arguments),
            "risk": tools.risk(request.name).value,
        }
        for request in reply.tool_requests
    ]


def _parsed(arguments: str) -> Any:
    """The arguments as data; as the text they are when it is no JSON, which the tool call will refuse."""
    try:
        return json.loads(arguments) if arguments.strip() else {}
    except (ValueError, RecursionError):
        return arguments
