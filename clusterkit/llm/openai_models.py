"""The models behind an OpenAI-compatible server, through the official client."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
from openai import AsyncOpenAI, omit

from clusterkit.llm.chat import ChatCall, ModelError, ModelProblem, ModelReply, ToolRequest
from clusterkit.telemetry.tracing import child_traceparent


@dataclass
class _Parts:
    """A tool call in the making."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass
class _Answer:
    """An answer in the making."""

    text: list[str] = field(default_factory=list)
    requests: dict[int, _Parts] = field(default_factory=dict)
    finish_reason: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None

    def add(self, chunk: Any) -> str:
        """Take in one chunk of the stream; returns its text."""
        if chunk.usage is not None:
            self.tokens_in, self.tokens_out = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
        if not chunk.choices:
            return ""
        choice = chunk.choices[0]
        self.finish_reason = choice.finish_reason or self.finish_reason
        delta = choice.delta
        for call in (delta.tool_calls or ()) if delta else ():
            parts = self.requests.setdefault(call.index, _Parts())
            parts.id = call.id or parts.id
            if call.function:
                parts.name += call.function.name or ""
                parts.arguments += call.function.arguments or ""
        piece = (delta.content or "") if delta else ""
        self.text.append(piece)
        return piece

    def reply(self) -> ModelReply:
        """The whole answer. Raises `ModelError` when the stream ended before the model did."""
        if self.finish_reason is None:
            raise self.failure(ModelProblem.NETWORK, "the model's answer was cut off")
        requests = [
            ToolRequest(parts.id or f"call_{index}", parts.name, parts.arguments)
            for index, parts in sorted(self.requests.items())
        ]
        return ModelReply("".join(self.text), requests, self.finish_reason, self.tokens_in, self.tokens_out)

    def failure(self, problem: ModelProblem, message: str, *, retry_after: float | None = None) -> ModelError:
        """Why there is no whole answer, with the tokens that were reported before."""
        return ModelError(
            problem,
            message,
            retry_after=retry_after,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
        )


class OpenAiModels:
    """`Models` on the gateway. Always streams: that is what `idle_timeout` can watch."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncOpenAI]]) -> None:
        """`connect` gives the client for the next call: the gateway may have moved."""
        self._connect = connect

    async def chat(self, call: ChatCall, on_text: Callable[[str], Awaitable[None]]) -> ModelReply:
        """See `Models.chat`."""
        client = (await self._connect()).with_options(max_retries=0)  # a node's `retry` is the only one
        arguments: Any = {
            "model": call.model,
            "messages": list(call.messages),
            "tools": list(call.tools) or omit,
            "temperature": omit if call.temperature is None else call.temperature,
            "max_tokens": omit if call.max_tokens is None else call.max_tokens,
        }
        answer = _Answer()
        try:
            stream = await client.chat.completions.create(
                **arguments,
                stream=True,
                stream_options={"include_usage": True},
                extra_headers={"traceparent": child_traceparent()},
            )
            async with stream:
                async for chunk in stream:
                    await on_text(answer.add(chunk))
        except (openai.APIError, httpx.HTTPError) as error:
            raise _explained(error, call.model, answer) from error
        return answer.reply()


def _explained(error: Exception, model: str, answer: _Answer) -> ModelError:
    message = f"model {model!r}: {error}"
    if isinstance(error, openai.APITimeoutError | httpx.TimeoutException):
        return answer.failure(ModelProblem.TIMEOUT, f"model {model!r} did not answer in time")
    if isinstance(error, openai.APIConnectionError | httpx.HTTPError):
        return answer.failure(ModelProblem.NETWORK, message)
    if isinstance(error, openai.RateLimitError):
        return answer.failure(ModelProblem.RATE_LIMIT, message, retry_after=_retry_after(error))
    if isinstance(error, openai.InternalServerError):
        return answer.failure(ModelProblem.OVERLOADED, message, retry_after=_retry_after(error))
    if isinstance(error, openai.APIStatusError):
        return answer.failure(ModelProblem.REFUSED, message)
    # An error that came in the middle of the stream.
    return answer.failure(ModelProblem.NETWORK, message)


def _retry_after(error: openai.APIStatusError) -> float | None:
    header = error.response.headers.get("retry-after", "")
    return float(header) if header.isdigit() else None
