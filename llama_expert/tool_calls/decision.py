"""The decision: one short request whose answer can only be a tool with its arguments, or none.

The prompt begins with what stays the same from request to request (tools, examples), so that the model
server has most of it in its prompt cache. Which tool is needed is decided from what people said alone: the
results of tools are shown only to fill in the arguments of a tool that was decided on before. So a text from
elsewhere that says "call the tool X" cannot bring a tool into play.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llama_expert.tool_calls.arguments import misfit, plain_schema
from llama_expert.tool_calls.conversation import Done, Now
from llama_expert.tool_calls.offered import OfferedTool
from llama_expert.tool_calls.selection import properties, tool_line
from llama_expert.tool_calls.written import Call, call_of, parse, same_form

NONE = "none"  #: what stands for no tool
MAX_TOKENS = 512  #: of a decision; one that goes on for longer goes round in circles
MAX_TEXT = 2000  #: characters of a message that a decision reads
MAX_BEFORE = 6  #: messages before the last one
MAX_BEFORE_TEXT = 300  #: characters of each
MAX_EXAMPLES = 6  #: tools that are shown in use

_RULES = (
    "You choose the tool that the last message needs. Answer with JSON only.\nTools:\n{tools}\n"
    "- none: no tool is needed. For greetings, thanks, chat, general knowledge, writing, translating, "
    "programming and questions about yourself."
)
#: "none" needs examples of its own: without them small models find a tool for everything.
_NO_TOOL_EXAMPLES = (
    "Hi there!",
    "Who painted the Mona Lisa?",
    "Write a short poem about the sea.",
    "What is your name?",
    "Thank you, that helps.",
)


@dataclass(frozen=True)
class Misfit:
    """A decision that cannot be carried out: asked again once with `problem`, then said."""

    written: str  #: what the model answered
    problem: str


@dataclass(frozen=True)
class Question:
    """What is to be decided."""

    tools: Sequence[OfferedTool]
    needed: bool  #: a tool must be called
    now: Now
    show_results: bool = False
    misfit: Misfit | None = None  #: of the answer before


def decision_request(question: Question, model: Any) -> dict[str, Any]:
    """The body of the chat request that asks `question`."""
    messages = [
        _message("system", _system(question)),
        *_examples(question),
        _message("user", _last(question)),
    ]
    if question.misfit is not None:
        problem = f"This does not fit the tool: {question.misfit.problem}. Answer again."
        messages += [_message("assistant", question.misfit.written), _message("user", problem)]
    body = {
        "messages": messages,
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "decision", "strict": True, "schema": decision_schema(question)},
        },
    }
    if not any(tool.name.startswith(NONE) for tool in question.tools):
        body["stop"] = [_call_text(NONE, None).removesuffix('"}')]  # spares the tokens after it
    return body if model is None else {**body, "model": model}


def decision_schema(question: Question) -> dict[str, Any]:
    """An `anyOf` of one object for each tool, the tool's name first, and one for none."""
    ways = [] if question.needed else [_way(NONE, None)]
    kept: dict[str, Any] = {}
    for index, tool in enumerate(question.tools):
        key = f"arguments{index}"
        if properties(tool.arguments):
            kept[key] = plain_schema(tool.arguments, f"/$defs/{key}")
        ways.append(_way(tool.name, key if key in kept else None))
    return {"anyOf": ways, "$defs": kept} if kept else {"anyOf": ways}


def read_decision(question: Question, written: str, finish_reason: str | None) -> Call | Misfit | None:
    """The call that the model decided on, None for none, or why the decision cannot be carried out.

    Raises ValueError when the JSON schema of the tool makes no sense.
    """
    if finish_reason == "length":
        return Misfit(written, f"the answer has no end after {MAX_TOKENS} tokens")
    if not written.strip() and not question.needed:
        return None  # it was stopped at "none"
    try:
        answer = parse(written)
    except (ValueError, RecursionError):
        return Misfit(written, "the answer is not JSON")
    name = answer.get("tool") if isinstance(answer, dict) else None
    if name == NONE and not question.needed:
        return None
    tool = next((tool for tool in question.tools if tool.name == name), None)
    if tool is None:
        return Misfit(written, f"there is no tool {name!r}")
    given = answer.get("arguments", {})
    problem = misfit(given, tool.arguments) if isinstance(given, dict) else "the arguments are no object"
    if problem is not None:
        return Misfit(written, f"{tool.name}: {problem}")
    call = call_of(tool.name, given)
    # The same call twice for one message: its result is there already.
    again = any(done.call == Call(tool.name, same_form(call.arguments)) for done in question.now.done)
    return None if again and not question.needed else call


def _way(name: str, arguments: str | None) -> dict[str, Any]:
    given: dict[str, Any] = {"tool": {"const": name}}
    if arguments is not None:
        given["arguments"] = {"$ref": f"#/$defs/{arguments}"}
    return {"type": "object", "properties": given, "required": list(given), "additionalProperties": False}


def _message(role: Literal["system", "user", "assistant"], content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _call_text(name: str, arguments: Mapping[str, Any] | None) -> str:
    given = {"tool": name} if arguments is None else {"tool": name, "arguments": arguments}
    return json.dumps(given, separators=(",", ":"), ensure_ascii=False)


def _system(question: Question) -> str:
    rules = _RULES.format(tools="\n".join(tool_line(tool) for tool in question.tools))
    background = shortened(question.now.system, MAX_TEXT)
    return f"{rules}\n\nAbout the conversation:\n{background}" if background else rules


def _examples(question: Question) -> list[dict[str, str]]:
    messages = []
    shown = [tool for tool in question.tools if tool.description][:MAX_EXAMPLES]
    for index in range(max(len(shown), len(_NO_TOOL_EXAMPLES))):
        if index < len(shown):
            tool = shown[index]
            asked = " ".join((tool.description or "").split())[:MAX_BEFORE_TEXT]
            messages += [_message("user", asked), _message("assistant", _example_call(tool))]
        if index < len(_NO_TOOL_EXAMPLES) and not question.needed:
            asked = _NO_TOOL_EXAMPLES[index]
            messages += [_message("user", asked), _message("assistant", _call_text(NONE, None))]
    return messages


def _example_call(tool: OfferedTool) -> str:
    given = properties(tool.arguments)
    required = tool.arguments.get("required")
    names = [name for name in given if isinstance(required, list) and name in required]
    return _call_text(tool.name, {name: _example_value(given[name]) for name in names} if given else None)


def _example_value(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return None
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    values = {"integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
    kind = schema.get("type")
    return values.get(kind, "…") if isinstance(kind, str) else "…"


def _last(question: Question) -> str:
    text = shortened(question.now.text, MAX_TEXT)
    before = question.now.before[-MAX_BEFORE:]
    if before:
        said = "\n".join(f"{who}: {shortened(what, MAX_BEFORE_TEXT)}" for who, what in before)
        text = f"Before:\n{said}\n\nNow:\n{text}"
    if question.now.done:
        done = "\n".join(_told(one, show_result=question.show_results) for one in question.now.done)
        text = f"{text}\n\nDone already for this message:\n{done}\nWhat else is needed? Mostly none."
    return text


def _told(done: Done, *, show_result: bool) -> str:
    told = f"{done.call.name} {done.call.arguments}"
    # As a JSON string: no line of it can pass for one of ours.
    return f"{told} gave {json.dumps(shortened(done.result, MAX_TEXT))}" if show_result else told


def shortened(text: str, limit: int) -> str:
    """`text`, of which the middle is left out where it has more than `limit` characters."""
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]} … {text[-(limit // 2) :]}"
