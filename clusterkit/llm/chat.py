"""One question to a model, its reply, and how asking can fail."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from clusterkit.errors import HearthError


@dataclass(frozen=True)
class ChatCall:
    """One question to a model."""

    model: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    temperature: float | None = None
    max_tokens: int | None = None


@dataclass(frozen=True)
class ToolRequest:
    """A tool call that a model wants; `arguments` as it wrote them."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class ModelReply:
    """What a model answered. Token counts are None when the server did not tell."""

    text: str
    tool_requests: Sequence[ToolRequest]
    finish_reason: str
    tokens_in: int | None
    tokens_out: int | None


class ModelProblem(StrEnum):
    """Why a model gave no reply."""

    NETWORK = "network"  # it could not be reached, or fell silent in mid-answer
    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"  # it is there, but cannot answer now
    TIMEOUT = "timeout"
    REFUSED = "model_refused"  # it did not accept the request


class ModelError(HearthError):
    """A model gave no reply."""

    def __init__(
        self,
        problem: ModelProblem,
        message: str,
        *,
        retry_after: float | None = None,
        tokens_in: int | None = None,
        tokens_out: int | None = None,
    ) -> None:
        """`retry_after`: seconds that the other side asked to wait.

        The token counts are what the server reported before it failed, None when it did not.
        """
        super().__init__(message)
        self.problem, self.code, self.retry_after = problem, problem.value, retry_after
        self.tokens_in, self.tokens_out = tokens_in, tokens_out


class Models(Protocol):
    """The way to the models."""

    async def chat(self, call: ChatCall, on_text: Callable[[str], Awaitable[None]]) -> ModelReply:
        """Ask; `on_text` gets each piece of the answer (empty for a sign of life). Raises `ModelError`."""
        ...
