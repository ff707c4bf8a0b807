"""What a chat request offers of tools, and how the client wants them used.

Fields follow OpenAI's published API reference for chat completions: `tools`, `tool_choice`,
`parallel_tool_calls`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clusterkit.config.suggest import suggest
from clusterkit.http.headers import Headers
from clusterkit.http.openai_wire import ApiError, ChatMessage, StreamOptions

#: A client that wants the model server's own way with tools says so in this header.
TOOLS_HEADER, NATIVE = b"x-hearth-tools", b"native"
NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


class OfferedTool(BaseModel):
    """The `function` of one entry of `tools`."""

    model_config = ConfigDict(frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The JSON schema of its arguments."""
        return self.parameters or NO_PARAMETERS


class _Entry(BaseModel):
    type: Literal["function"]
    function: OfferedTool


class _Named(BaseModel):
    name: str


class _Choice(BaseModel):
    type: Literal["function"]
    function: _Named


class _Body(BaseModel):
    messages: list[ChatMessage] = Field(min_length=1)
    tools: list[_Entry] = Field(min_length=1)
    tool_choice: Literal["none", "auto", "required"] | _Choice | None = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


@dataclass(frozen=True)
class ToolsAsked:
    """A chat request that offers tools."""

    body: Mapping[str, Any]  #: the request as it came
    messages: tuple[ChatMessage, ...]
    tools: tuple[OfferedTool, ...]  #: those that may be called: of a named choice only that one
    choice: Literal["none", "auto", "required"]
    parallel: bool  #: whether more than one call at once is welcome
    stream: bool
    wants_usage: bool  #: a streamed answer is to end with a usage chunk

    @property
    def names(self) -> frozenset[str]:
        """The names that may be called."""
        return frozenset(tool.name for tool in self.tools)


def wants_native_tools(headers: Headers) -> bool:
    """Whether a request with `headers` is to reach the model server as it is.

    Raises `ApiError` 400 for a value of the header that there is not.
    """
    value = next((value for name, value in headers if name == TOOLS_HEADER), None)
    if value not in (None, NATIVE):
        message = f"X-Hearth-Tools: {value.decode('latin-1')!r} is not known; the only value is 'native'."
        raise ApiError(message, status=400, code="invalid_request", param="X-Hearth-Tools")
    return value is not None


def tools_asked(body: bytes) -> ToolsAsked | None:
    """What the request `body` says of tools; None when it offers none, or is no JSON object.

    Raises `ApiError` 400 when it offers tools in a form that OpenAI's API does not know.
    """
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(request, dict) or not request.get("tools"):
        return None
    try:
        read = _Body.model_validate(request)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("_Choice", "literal"))
        problem = f"{where}: {first['msg']}"
        raise ApiError(problem, status=400, code="invalid_request", param=where) from error
    tools = tuple(entry.function for entry in read.tools)
    choice: Literal["none", "auto", "required"]
    if isinstance(read.tool_choice, _Choice):
        tools, choice = _named(tools, read.tool_choice.function.name), "required"
    else:
        choice = read.tool_choice or "auto"
    return ToolsAsked(
        body=request,
        messages=tuple(read.messages),
        tools=_unique(tools),
        choice=choice,
        parallel=read.parallel_tool_calls is not False,
        stream=bool(read.stream),
        wants_usage=read.stream_options is not None and read.stream_options.include_usage,
    )


def _named(tools: tuple[OfferedTool, ...], name: str) -> tuple[OfferedTool, ...]:
    for tool in tools:
        if tool.name == name:
            return (tool,)
    known = [tool.name for tool in tools]
    message = f"tool_choice: there is no tool {name!r}{suggest(name, known)}"
    raise ApiError(message, status=400, code="invalid_request", param="tool_choice")


def _unique(tools: tuple[OfferedTool, ...]) -> tuple[OfferedTool, ...]:
    names = [tool.name for tool in tools]
    for index, name in enumerate(names):
        if name in names[:index]:
            message = f"tools.{index}: there are two tools called {name!r}"
            raise ApiError(message, status=400, code="invalid_request", param="tools")
    return tools
