"""Streamed answers, changed on their way: calls in place of the text they were written as, usage added up."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from clusterkit.http.openai_wire import sse
from llama_expert.tool_calls.answers import NewId, Usage, added_up, entry, json_object
from llama_expert.tool_calls.repair import CallReader
from llama_expert.tool_calls.written import Call

_DATA = b"data:"
Event = dict[str, Any]  #: a chunk of a streamed completion


@dataclass
class EventChanger:
    """Server-sent events in pieces of any size: those with choices or usage are changed, others pass."""

    change: Callable[[Event], Sequence[Event]]  #: the events that take the place of one
    rest: Callable[[], Sequence[Event]]  #: what is to be said before `[DONE]`, an error or a bare end
    _line: bytes = b""
    _ended: bool = False

    def feed(self, data: bytes) -> bytes:
        """What goes on to the client."""
        *lines, self._line = (self._line + data).split(b"\n")
        return b"".join(self._changed(line) for line in lines)

    def close(self) -> bytes:
        """The same, at the end of the stream."""
        return self._changed(self._line) + self._end()

    def _changed(self, line: bytes) -> bytes:
        line = line.rstrip(b"\r")
        if not line:
            return b""  # every event brings its own end
        event = json_object(line[len(_DATA) :]) if line.startswith(_DATA) else None
        if event is not None and "choices" in event:
            return b"".join(map(sse, self.change(event)))
        comment = line.startswith(b":")
        return (b"" if comment else self._end()) + line + b"\n\n"

    def _end(self) -> bytes:
        if self._ended:
            return b""
        self._ended = True
        return b"".join(map(sse, self.rest()))


def usage_adder(spent: Usage) -> EventChanger:
    """Adds `spent` to the usage that a stream tells."""

    def change(event: Event) -> Sequence[Event]:
        told = isinstance(event.get("usage"), dict)
        return [{**event, "usage": added_up(spent, event["usage"])} if told else event]

    return EventChanger(change, list)


def call_repairer(names: frozenset[str], new_id: NewId, *, parallel: bool) -> EventChanger:
    """Says as `tool_calls` what calls of `names` a stream writes out; the first alone if not `parallel`."""
    repair = _Repair(names, new_id, parallel)
    return EventChanger(repair.change, lambda: list(repair.rest()))


@dataclass
class _Choice:
    """One choice of the answer."""

    reader: CallReader
    calls: int = 0
    numbers: dict[int, int] = field(default_factory=dict)  #: of calls that the model server itself found


@dataclass
class _Repair:
    names: frozenset[str]
    new_id: NewId
    parallel: bool
    choices: dict[int, _Choice] = field(default_factory=dict)
    last: Event = field(default_factory=dict)

    def change(self, event: Event) -> list[Event]:
        self.last = {name: value for name, value in event.items() if name not in ("usage", "timings")}
        changed = [part for raw in event["choices"] for part in self._choice(raw)]
        if not changed:
            return [event] if not event["choices"] else []
        return [
            *({**self.last, "choices": [part]} for part in changed[:-1]),
            {**event, "choices": changed[-1:]},
        ]

    def rest(self) -> Iterator[Event]:
        for index, choice in self.choices.items():
            for delta in self._deltas(choice, choice.reader.close()):
                said = {"index": index, "delta": delta, "finish_reason": None}
                yield {**self.last, "choices": [said]}

    def _choice(self, raw: dict[str, Any]) -> Iterator[dict[str, Any]]:
        choice = self.choices.setdefault(raw.get("index", 0), _Choice(CallReader(self.names)))
        delta, finish = dict(raw.get("delta") or {}), raw.get("finish_reason")
        parts = choice.reader.feed(delta.pop("content")) if delta.get("content") else []
        if "tool_calls" in delta:
            delta["tool_calls"] = [self._numbered(choice, call) for call in delta["tool_calls"] or []]
        if delta:
            yield {**raw, "delta": delta, "finish_reason": None}
        if finish is not None:
            parts = [*parts, *choice.reader.close()]
        for said in self._deltas(choice, parts):
            yield {**raw, "delta": said, "finish_reason": None}
        if finish is not None:
            reason = "tool_calls" if choice.calls and finish == "stop" else finish
            yield {**raw, "delta": {}, "finish_reason": reason}

    def _numbered(self, choice: _Choice, call: dict[str, Any]) -> dict[str, Any]:
        own = call.get("index", 0)
        if own not in choice.numbers:
            choice.numbers[own] = choice.calls
            choice.calls += 1
        return {**call, "index": choice.numbers[own]}

    def _deltas(self, choice: _Choice, parts: Sequence[str | Call]) -> Iterator[dict[str, Any]]:
        for part in parts:
            if isinstance(part, str):
                yield {"content": part}
            elif self.parallel or not choice.calls:
                yield {"tool_calls": [{"index": choice.calls, **entry(part, self.new_id)}]}
                choice.calls += 1
