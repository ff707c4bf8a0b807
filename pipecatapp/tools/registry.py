"""The tools that are there, by name and alias."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from clusterkit.config.suggest import suggest
from pipecatapp.tools.base import Risk, Tool, ToolError, function_schema
from pipecatapp.workflow.errors import ErrorCode


class ToolRegistry:
    """An immutable set of tools."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        """Raises `ValueError` when two tools share a name or alias."""
        self._tools: dict[str, Tool] = {}
        self._names: list[str] = []
        for tool in tools:
            self._names.append(tool.name)
            for name in (tool.name, *tool.aliases):
                if name in self._tools:
                    raise ValueError(f"two tools are called {name!r}")
                self._tools[name] = tool

    @property
    def names(self) -> Sequence[str]:
        """The tools' names, aliases left out."""
        return tuple(self._names)

    def get(self, name: str) -> Tool:
        """The tool of that name or alias. Raises `ToolError` naming the known ones."""
        if name not in self._tools:
            raise ToolError(f"unknown tool {name!r}{suggest(name, self._names)}", ErrorCode.UNKNOWN_TOOL)
        return self._tools[name]

    def knows(self, name: str) -> bool:
        """Whether there is a tool of that name or alias."""
        return name in self._tools

    def risk(self, name: str) -> Risk:
        """The risk of a tool; the worst there is for one that is not known."""
        return self._tools[name].risk if name in self._tools else Risk.IRREVERSIBLE

    def schemas(self, names: Iterable[str]) -> Sequence[Mapping[str, Any]]:
        """Tools as a chat request lists them. Raises `ToolError` for an unknown name."""
        return [function_schema(self.get(name)) for name in names]


def check_arguments(tool: Tool, arguments: Any) -> BaseModel:
    """Arguments as the tool takes them. Raises `ToolError` saying what is wrong with which."""
    if not isinstance(arguments, Mapping):
        raise ToolError(
            f"the arguments of {tool.name!r} must be a JSON object, not {arguments!r:.100}",
            ErrorCode.BAD_ARGUMENTS,
        )
    try:
        return tool.Arguments.model_validate(dict(arguments))
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'arguments'}: {problem['msg']}"
            for problem in error.errors()
        )
        accepted = ", ".join(tool.Arguments.model_fields) or "none"
        message = f"wrong arguments for {tool.name!r}: {wrong} (it takes: {accepted})"
        raise ToolError(message, ErrorCode.BAD_ARGUMENTS) from error
