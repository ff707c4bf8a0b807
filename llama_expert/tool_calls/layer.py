"""Answers a chat request that offers tools, for a model that cannot be offered them as it is."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from starlette.types import Message, Send

from clusterkit.http.answers import send_answer
from clusterkit.http.headers import Headers
from clusterkit.http.openai_wire import ApiError
from clusterkit.proxy.forward import Forwarded
from llama_expert.tool_calls import answers
from llama_expert.tool_calls.conversation import in_words, now
from llama_expert.tool_calls.decision import Misfit, Question, decision_request, read_decision
from llama_expert.tool_calls.offered import ToolsAsked
from llama_expert.tool_calls.selection import tools_that_fit
from llama_expert.tool_calls.streams import EventChanger, call_repairer, usage_adder
from llama_expert.tool_calls.written import Call

#: Sends a body to the model server and the answer to `send`. Raises `UpstreamError`.
PassOn = Callable[[bytes, Send], Awaitable[Forwarded]]
_JSON: Headers = ((b"content-type", b"application/json"),)
_EVENTS: Headers = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
_TOOL_FIELDS = ("tools", "tool_choice", "parallel_tool_calls")


@dataclass(frozen=True)
class ToolCalls:
    """How one request with tools is answered."""

    asked: ToolsAsked
    context: int  #: tokens that the model server was started with
    pass_on: PassOn
    send: Send
    new_id: answers.NewId

    def _in_words(self) -> bytes:
        kept = {name: value for name, value in self.asked.body.items() if name not in _TOOL_FIELDS}
        return orjson.dumps({**kept, "messages": in_words(self.asked.messages)})

    async def repaired(self) -> Forwarded:
        """What the model says, its calls put into form. Raises `UpstreamError` as `forward` does."""
        asked = self.asked
        if asked.choice == "none":
            return await self.pass_on(self._in_words(), self.send)
        # Model servers know no named choice: the one tool is left, and must be called.
        entries = [one for one in asked.body["tools"] if one["function"]["name"] in asked.names]
        body = orjson.dumps({**asked.body, "tools": entries, "tool_choice": asked.choice})

        def whole(answer: bytes) -> bytes:
            return answers.repaired_answer(answer, asked.names, self.new_id, parallel=asked.parallel)

        events = call_repairer(asked.names, self.new_id, parallel=asked.parallel)
        return await self.pass_on(body, _Changed(self.send, whole, events))

    async def decided(self) -> Forwarded:
        """A call that the model decides on under a schema, or its answer in words.

        Raises `ApiError` when there is no decision that fits, `UpstreamError` as `forward` does.
        """
        if self.asked.choice == "none":
            return await self.pass_on(self._in_words(), self.send)
        asked, said = self.asked, now(self.asked.messages)
        tools = tools_that_fit(asked.tools, said.text, self.context)
        deciding = _Deciding(self)
        try:
            question = Question(tools, asked.choice == "required", said)
            call = await deciding.decide(question)
            if call is not None and said.done:
                chosen = [tool for tool in tools if tool.name == call.name]
                call = await deciding.decide(replace(question, tools=chosen, show_results=True))
        except _Ended as ended:
            return ended.forwarded
        spent = deciding.spent
        if call is None:
            return await self.pass_on(
                self._in_words(),
                _Changed(self.send, lambda body: answers.with_usage(body, spent), usage_adder(spent)),
            )
        if asked.stream:
            body = answers.call_events(deciding.reply, call, spent, self.new_id, asked=asked)
        else:
            body = orjson.dumps(answers.call_answer(deciding.reply, call, spent, self.new_id))
        await send_answer(self.send, 200, _EVENTS if asked.stream else _JSON, body)
        return Forwarded(status=200, outcome="complete")


class _Ended(Exception):
    """There is no decision: the client left, or got the model server's refusal."""

    def __init__(self, forwarded: Forwarded) -> None:
        super().__init__()
        self.forwarded = forwarded


@dataclass
class _Deciding:
    """The decisions of one request, and what they cost."""

    calls: ToolCalls
    spent: answers.Usage = field(default_factory=lambda: answers.added_up(None, None))
    reply: dict[str, Any] = field(default_factory=dict)  #: the last one of the model

    async def decide(self, question: Question) -> Call | None:
        """Raises `ApiError` 502 when the model gives no decision that fits, even when told what is wrong."""
        decision = await self._ask(question)
        if isinstance(decision, Misfit):
            decision = await self._ask(replace(question, misfit=decision))
        if isinstance(decision, Misfit):
            message = f"The model called a tool in a way that does not fit it, twice: {decision.problem}."
            raise ApiError(message, status=502, type="server_error", code="tool_call_failed")
        return decision

    async def _ask(self, question: Question) -> Call | Misfit | None:
        request = decision_request(question, self.calls.asked.body.get("model"))
        collected = _Collected()
        forwarded = await self.calls.pass_on(orjson.dumps(request), collected)
        if forwarded.outcome == "client_left":
            raise _Ended(forwarded)
        reply = answers.json_object(collected.body)
        choices = (reply or {}).get("choices")
        if forwarded.status != 200 or reply is None or not choices:
            await collected.send_to(self.calls.send)
            raise _Ended(forwarded)
        self.reply, self.spent = reply, answers.added_up(self.spent, reply.get("usage"))
        written = choices[0]["message"].get("content") or ""
        try:
            return read_decision(question, written, choices[0].get("finish_reason"))
        except ValueError as error:
            raise ApiError(f"tools: {error}.", status=400, code="invalid_request", param="tools") from error


class _Collected:
    """Takes the messages of a whole answer."""

    def __init__(self) -> None:
        self._messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self._messages.append(dict(message))

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self._messages)

    async def send_to(self, send: Send) -> None:
        for message in self._messages:
            await send(message)


class _Changed:
    """Takes the messages of an answer and sends them on, the body changed: `whole`, or event by event."""

    def __init__(self, send: Send, whole: Callable[[bytes], bytes], events: EventChanger) -> None:
        self._send, self._whole, self._events = send, whole, events
        self._start: Message | None = None  #: held back until the length of a whole body is known
        self._streams = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            lengths = [value for name, value in message["headers"] if name == b"content-length"]
            self._streams = not lengths
            if self._streams:
                await self._send(message)
            else:
                self._start = message
            return
        if self._streams:
            await self._send({**message, "body": self._event_bytes(message)})
            return
        assert self._start is not None
        body = self._whole(message["body"]) if self._start["status"] == 200 else message["body"]
        kept = [pair for pair in self._start["headers"] if pair[0] != b"content-length"]
        await send_answer(self._send, self._start["status"], kept, body)

    def _event_bytes(self, message: Message) -> bytes:
        changed = self._events.feed(message.get("body", b""))
        return changed if message.get("more_body") else changed + self._events.close()
