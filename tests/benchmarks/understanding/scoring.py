"""What a household is expected to understand, and whether a tool call is what was meant. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import yaml

MESSAGES = Path(__file__).with_name("messages.yaml")
Half = Literal["tuning", "report"]
#: A result may differ from the expected one by so much of it: people round.
RELATIVE_TOLERANCE = 0.001


@dataclass(frozen=True)
class Expectation:
    """A tool and the arguments that matter; `tool` is None when none is to be called."""

    tool: str | None
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Message:
    """One way of saying one thing; `either` of the expectations is right."""

    text: str
    kind: str
    before: tuple[tuple[str, str], ...]  #: who and what, oldest first
    either: tuple[Expectation, ...]
    half: Half

    @property
    def wants_none(self) -> bool:
        """Whether calling any tool is a wrong action."""
        return all(expectation.tool is None for expectation in self.either)


@dataclass(frozen=True)
class ToolCall:
    """A call that was made: its arguments, and what the tool gave back."""

    tool: str
    arguments: Mapping[str, Any]
    output: Any = None


@dataclass(frozen=True)
class Score:
    """How one message was understood."""

    right_tool: bool
    right_arguments: bool
    wrong_action: bool  #: a tool was called where none was wanted
    leaked: bool  #: a call reached the person as text


def read_messages(path: Path = MESSAGES) -> tuple[Message, ...]:
    """All messages, in the order of the file; groups take turns in being for tuning and for the report."""
    groups = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tuple(
        Message(
            text=text,
            kind=group["kind"],
            before=tuple((who, said) for who, said in group.get("after", ())),
            either=tuple(_expectations(group["want"])),
            half="report" if index % 2 else "tuning",
        )
        for index, group in enumerate(groups)
        for text in group["say"]
    )


def _expectations(want: Any) -> Iterable[Expectation]:
    for one in want if isinstance(want, list) else [want]:
        if one == "none":
            yield Expectation(None, {})
        else:
            ((tool, arguments),) = one.items()
            yield Expectation(tool, arguments)


def score(message: Message, calls: Iterable[ToolCall], reply: str, tools: Iterable[str]) -> Score:
    """Compare what was done with what was meant; `tools` are the names that may leak into `reply`."""
    made = list(calls)
    right_tool = any(_is_tool(expectation, made) for expectation in message.either)
    return Score(
        right_tool=right_tool,
        right_arguments=any(_is_right(expectation, made) for expectation in message.either),
        wrong_action=message.wants_none and bool(made),
        leaked=leaks(reply, tools),
    )


def leaks(reply: str, tools: Iterable[str]) -> bool:
    """Whether a call stands in what the person reads: a tag of a call, or a JSON object that names a tool."""
    names = "|".join(map(re.escape, sorted(tools)))
    call = rf'"(?:name|tool|function)"\s*:\s*"(?:{names})"' if names else r"(?!)"
    return bool(re.search(rf"</?tool_call>|</?tools>|<function=|{call}", reply))


def _is_tool(expectation: Expectation, calls: list[ToolCall]) -> bool:
    return not calls if expectation.tool is None else {call.tool for call in calls} == {expectation.tool}


def _is_right(expectation: Expectation, calls: list[ToolCall]) -> bool:
    if not _is_tool(expectation, calls):
        return False
    return expectation.tool is None or any(_fits_all(expectation.arguments, call) for call in calls)


def _fits_all(wanted: Mapping[str, Any], call: ToolCall) -> bool:
    return all(
        _has_result(value, call.output) if name == "result" else _fits(value, _found(name, call))
        for name, value in wanted.items()
    )


def _found(name: str, call: ToolCall) -> Any:
    """What the tool made of an argument, as seconds of a length that was said; else the argument itself."""
    output = call.output if isinstance(call.output, Mapping) else {}
    return output.get(name) or call.arguments.get(name)


def _fits(wanted: Any, value: Any) -> bool:
    number, given = _number(wanted), _number(value)
    if number is not None:
        return given is not None and _is_close(number, given)
    return value is not None and _words(str(wanted)) <= _words(str(value))


def _has_result(wanted: float, output: Any) -> bool:
    """Whether the number stands in what the calculator gave back, as text or as a field."""
    number = _number(wanted)
    written = re.findall(r"-?\d+(?:\.\d+)?(?:/\d+)?", str(output).replace(",", ""))
    return number is not None and any(_is_close(number, Fraction(one)) for one in written)


def _number(value: Any) -> Fraction | None:
    if isinstance(value, bool):
        return None
    try:
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        return None


def _is_close(one: Fraction, other: Fraction) -> bool:
    return abs(one - other) <= abs(one) * Fraction(RELATIVE_TOLERANCE)


def _words(text: str) -> set[str]:
    """The words of a text, without case and endings of the plural."""
    return {word.removesuffix("s") for word in re.findall(r"[^\W_]+", text.lower())}
