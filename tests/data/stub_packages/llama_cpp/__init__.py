"""Stands in for llama-cpp-python, which takes minutes to compile: the same calls, canned words."""

from collections.abc import Iterator
from typing import Any

WORDS = ["The", " sky", " is", " blue", "."]


class Llama:
    """Takes what the real one takes, and says the same thing every time."""

    def __init__(
        self,
        model_path: str,
        *,
        n_ctx: int,
        n_threads: int,
        n_threads_batch: int,
        last_n_tokens_size: int,
        verbose: bool,
    ) -> None:
        """Refuses what is no GGUF, as the real one does."""
        with open(model_path, "rb") as file:
            if file.read(4) != b"GGUF":
                raise ValueError(f"Failed to load model from file: {model_path}")

    def create_chat_completion(
        self, messages: list[dict[str, Any]], *, stream: bool = False, max_tokens: int | None = None, **_: Any
    ) -> dict[str, Any] | Iterator[dict[str, Any]]:
        """A completion, or an iterator of chunks."""
        words = WORDS[:max_tokens]
        shared = {"id": "chatcmpl-stub", "created": 1, "model": "/where/it/lies.gguf"}
        if stream:
            deltas: list[dict[str, str]] = [{"role": "assistant"}, *({"content": word} for word in words), {}]
            return (
                {
                    **shared,
                    "object": "chat.completion.chunk",
                    "choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}],
                }
                for delta in deltas
            )
        message = {"role": "assistant", "content": "".join(words)}
        return {
            **shared,
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": len(words), "total_tokens": 1 + len(words)},
        }
