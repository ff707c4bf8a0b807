"""Whole answers of OpenAI's chat format, made and changed: calls put in, usage added up."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from clusterkit.http.openai_wire import DONE, chunk, completion, sse, usage
from llama_expert.tool_calls.offered import ToolsAsked
from llama_expert.tool_calls.repair import CallReader
from llama_expert.tool_calls.written import Call

NewId = Callable[[], str]
Usage = Mapping[str, Any]  #: OpenAI's `usage` object


def entry(call: Call, new_id: NewId) -> dict[str, Any]:
    """One entry of `tool_calls`."""
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{new_id()}", "type": "function", "function": function}


def added_up(first: Usage | None, second: Usage | None) -> dict[str, int]:
    """The tokens of two answers that a client gets as one."""
    tokens_in, tokens_out = (
        sum(int((one or {}).get(name) or 0) for one in (first, second))
        for name in ("prompt_tokens", "completion_tokens")
    )
    return usage(tokens_in, tokens_out)


def call_answer(reply: Mapping[str, Any], call: Call, spent: Usage, new_id: NewId) -> dict[str, Any]:
    """A whole answer that is `call`, in place of the model's own `reply`."""
    answer = completion(**_shared(reply), text="", finish_reason="tool_calls", usage=spent)
    answer["choices"][0]["message"] |= {"content": None, "tool_calls": [entry(call, new_id)]}
    return answer


def call_events(
    reply: Mapping[str, Any], call: Call, spent: Usage, new_id: NewId, *, asked: ToolsAsked
) -> bytes:
    """The same as a stream."""
    shared = _shared(reply)
    called = {"index": 0, **entry(call, new_id)}
    chunks = [
        chunk(**shared, delta={"role": "assistant", "content": None, "tool_calls": [called]}),
        chunk(**shared, delta={}, finish_reason="tool_calls"),
    ]
    if asked.wants_usage:
        chunks.append(chunk(**shared, delta=None, usage=spent))
    return b"".join(map(sse, chunks)) + DONE


def _shared(reply: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": reply.get("id", ""), "model": reply.get("model", ""), "created": reply.get("created", 0)}


def with_usage(body: bytes, spent: Usage) -> bytes:
    """An answer, or a chunk of one, with `spent` added to its usage; unchanged when it tells none."""
    if b'"usage"' not in body:
        return body
    answer = json_object(body)
    if answer is None or not isinstance(answer.get("usage"), dict):
        return body
    return orjson.dumps({**answer, "usage": added_up(spent, answer["usage"])})


def repaired_answer(body: bytes, names: frozenset[str], new_id: NewId, *, parallel: bool) -> bytes:
    """A whole answer whose choices say their calls as `tool_calls`, not as text."""
    answer = json_object(body)
    if answer is None:
        return body
    for choice in answer.get("choices") or []:
        message = choice.get("message") or {}
        if not isinstance(message.get("content"), str):
            continue
        reader = CallReader(names)
        parts = [*reader.feed(message["content"]), *reader.close()]
        calls = [entry(part, new_id) for part in parts if isinstance(part, Call)]
        if calls:
            made = [*(message.get("tool_calls") or []), *calls]
            message["content"] = "".join(part for part in parts if isinstance(part, str)) or None
            message["tool_calls"] = made if parallel else made[:1]
            if choice.get("finish_reason") == "stop":
                choice["finish_reason"] = "tool_calls"
    return orjson.dumps(answer)


def json_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object that `body` is; None when it is something else."""
    try:
        read = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return read if isinstance(read, dict) else None
