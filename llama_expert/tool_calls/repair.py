"""Finds the tool calls in what a model says, piece by piece, and lets all else through.

A call may be a JSON object or a list of them, bare or in a fence of backticks, `<tool_call>…</tool_call>`,
`<tools>…</tools>` or `<function=NAME>…</function>`, alone or between text: the forms that Qwen2.5-Coder,
Hermes, Llama 3 and Qwen3-Coder use (ggml-org/llama.cpp #12279, vllm-project/vllm #33083, ollama/ollama
#12174). Only what may still become a call of an offered tool is held back.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from llama_expert.tool_calls.written import CALL_KEYS, Call, call_of, calls_in, parse

MAX_CALL_CHARACTERS = 16_384  #: what is longer is text; it is not held back for ever
MAX_DEPTH = 24  #: of brackets within brackets in one call
MAX_COVERS = 100  #: of fences and tags around and beside each other that are taken as one

_STARTS = re.compile(r"[`{\[<]")
_SPACE = " \t\r\n"
_BRACKETS = re.compile(r'["\\{}\[\]]')
_FENCE = "```"
_FENCE_INFO = ("", "json", "jsonc", "tool_call", "tool_calls", "tool", "xml", "text", "plaintext")
_TAGS = {"<tool_call>": "</tool_call>", "<tools>": "</tools>"}
_FUNCTION, _FUNCTION_END = "<function=", "</function>"
_PARAMETER = re.compile(r"<parameter=([^>\s]+)>\n?(.*?)\n?</parameter>\s*", re.DOTALL)


class _More(Exception):
    """What has come in so far may become a call, or may not."""


class _Text(Exception):
    """It is not a call, whatever comes."""

    def __init__(self, end: int = 0) -> None:
        """Up to `end`, where that is known: calls inside of what is no call are none either."""
        super().__init__(end)
        self.end = end


@dataclass
class CallReader:
    """Takes a model's text in pieces of any size and gives text and calls, in order.

    How the text is cut into pieces changes nothing in what comes out, but for how the text is cut. White
    space before a call is left out, and behind it where no text stood before; text without calls comes out as
    it went in.
    """

    names: Collection[str]  #: of the tools that were offered
    _held: str = ""
    _said: bool = False
    _called: bool = False

    def feed(self, piece: str) -> list[str | Call]:
        """What is certain once `piece` has come in."""
        self._held += piece
        return list(self._certain(ended=False))

    def close(self) -> list[str | Call]:
        """The rest: nothing more comes in."""
        rest = list(self._certain(ended=True))
        space, self._held = self._held, ""
        return rest if self._called or not space else [*rest, space]

    def _certain(self, *, ended: bool) -> Iterator[str | Call]:
        searched = 0
        while True:
            found = _STARTS.search(self._held, searched)
            if found is None:
                yield from self._release(len(self._held))
                return
            start = found.start()
            try:
                calls, end = _Matcher(self._held, self.names, ended=ended).match(start)
                if end - start > MAX_CALL_CHARACTERS:
                    raise _Text
            except _Text as text:
                searched = max(start + 1, text.end)
                continue
            except _More:
                if not ended and len(self._held) - start <= MAX_CALL_CHARACTERS:
                    yield from self._release(start)
                    return
                searched = start + 1
                continue
            rest = self._held[end:]
            yield from self._release(start)
            yield from calls
            self._held, searched, self._called = rest, 0, True

    def _release(self, end: int) -> Iterator[str]:
        """The text up to `end` but for the white space at its end, which may stand before a call."""
        text = self._held[:end].rstrip(_SPACE)
        self._held = self._held[len(text) :]
        if self._called and not self._said:
            text = text.lstrip(_SPACE)
        if text:
            self._said, self._called = True, False
            yield text


@dataclass
class _Matcher:
    """Reads one call, or several in one cover, at a place of `text`. `ended`: no more text will come."""

    text: str
    names: Collection[str]
    ended: bool
    covers: int = 0

    def match(self, start: int) -> tuple[tuple[Call, ...], int]:
        """The calls at `start` and where they end. Raises `_Text` or `_More`."""
        if self.text[start] == "`":
            return self._fenced(start)
        if self.text[start] == "<":
            return self._tagged(start)
        return self._bare(start)

    def _bare(self, start: int) -> tuple[tuple[Call, ...], int]:
        end = self._balanced(start)
        calls = calls_in(self.text[start:end], self.names)
        if not calls:
            raise _Text(end)
        return calls, end

    def _fenced(self, start: int) -> tuple[tuple[Call, ...], int]:
        at = self._literal(start, (_FENCE,)) + start
        line = self.text.find("\n", at)
        info = self.text[at:] if line < 0 else self.text[at:line]
        if line < 0:
            if any(known.startswith(info.strip()) for known in _FENCE_INFO):
                raise _More
            raise _Text
        if info.strip().lower() not in _FENCE_INFO:
            raise _Text
        return self._items(line + 1, _FENCE)

    def _tagged(self, start: int) -> tuple[tuple[Call, ...], int]:
        opened = self._literal(start, (*_TAGS, _FUNCTION))
        tag = self.text[start : start + opened]
        if tag == _FUNCTION:
            return self._function(start + opened)
        return self._items(start + opened, _TAGS[tag])

    def _function(self, at: int) -> tuple[tuple[Call, ...], int]:
        closed = self.text.find(">", at)
        name = self.text[at:] if closed < 0 else self.text[at:closed]
        if closed < 0:
            if any(known.startswith(name) for known in self.names):
                raise _More
            raise _Text
        if name not in self.names:
            raise _Text
        begin = self._skip(closed + 1)
        if self.text.startswith("{", begin):
            end = self._balanced(begin, any_key=True)
            try:
                call = call_of(name, parse(self.text[begin:end]))
            except (ValueError, RecursionError) as error:
                raise _Text from error
            return (call,), self._closing(end, _FUNCTION_END)
        end = self.text.find(_FUNCTION_END, begin)
        if end < 0:
            self._no_later(begin)
            raise _More
        parameters = _PARAMETER.findall(self.text[begin:end])
        if _PARAMETER.sub("", self.text[begin:end]).strip():
            raise _Text
        return (call_of(name, {key: _value(text) for key, text in parameters}),), end + len(_FUNCTION_END)

    def _items(self, at: int, end_mark: str) -> tuple[tuple[Call, ...], int]:
        """One call or more up to `end_mark`, which a model may forget."""
        self.covers += 1
        if self.covers > MAX_COVERS:
            raise _Text
        calls: list[Call] = []
        while True:
            begin = self._skip(at, f"{_SPACE},")
            try:
                length = self._end_of_items(begin, end_mark)
                if length:
                    if not calls:
                        raise _Text
                    return tuple(calls), begin + length
                more, at = self.match(begin)
            except _More:
                if self.ended and calls:
                    cut_off = end_mark.startswith(self.text[begin:])
                    return tuple(calls), len(self.text) if cut_off else at
                raise
            except _Text:
                if calls:
                    return tuple(calls), at
                raise
            calls += more

    def _end_of_items(self, at: int, end_mark: str) -> int:
        """The length of `end_mark` where it stands at `at`, 0 where another item begins."""
        if self.text[at : at + 1] in ("{", "["):
            return 0
        length = self._literal(at, (end_mark, _FUNCTION, *_TAGS))
        return length if self.text.startswith(end_mark, at) else 0

    def _closing(self, at: int, mark: str) -> int:
        """Where `mark` ends, which may come after white space; `at` where a model forgot it."""
        begin = self._skip(at)
        try:
            return begin + self._literal(begin, (mark,))
        except _Text:
            return at
        except _More:
            if self.ended:
                return at
            raise

    def _literal(self, at: int, known: tuple[str, ...]) -> int:
        """The length of the one of `known` that stands at `at`."""
        for one in known:
            if self.text.startswith(one, at):
                return len(one)
        rest = self.text[at:]
        if any(one.startswith(rest) for one in known):
            raise _More
        raise _Text

    def _skip(self, at: int, characters: str = _SPACE) -> int:
        while at < len(self.text) and self.text[at] in characters:
            at += 1
        return at

    def _balanced(self, start: int, *, any_key: bool = False) -> int:
        """Where the bracket at `start` is closed."""
        if not any_key:
            self._begins_like_a_call(start)
        depth, in_string, skipped = 0, False, -1
        for found in _BRACKETS.finditer(self.text, start, start + MAX_CALL_CHARACTERS):
            at, mark = found.start(), found.group()
            if at == skipped:
                continue
            if mark == "\\":
                skipped = at + 1
            elif mark == '"':
                in_string = not in_string
            elif in_string:
                continue
            elif mark in "{[":
                depth += 1
                if depth > MAX_DEPTH:
                    raise _Text
            else:
                depth -= 1
                if depth == 0:
                    return at + 1
        self._no_later(start)
        raise _More

    def _no_later(self, start: int) -> None:
        if len(self.text) - start >= MAX_CALL_CHARACTERS:
            raise _Text

    def _begins_like_a_call(self, start: int) -> None:
        at = self._skip(start, f"{_SPACE}[")
        if at >= len(self.text):
            raise _More
        if self.text[at] != "{":
            raise _Text
        at = self._skip(at + 1)
        if at >= len(self.text):
            raise _More
        if self.text[at] != '"':
            raise _Text
        quote = self.text.find('"', at + 1)
        key = self.text[at + 1 :] if quote < 0 else self.text[at + 1 : quote]
        if quote < 0 and any(known.startswith(key) for known in CALL_KEYS):
            raise _More
        if key not in CALL_KEYS:
            raise _Text


def _value(text: str) -> object:
    """A parameter's value: JSON where it is, else the text itself."""
    try:
        return parse(text)
    except (ValueError, RecursionError):
        return text
