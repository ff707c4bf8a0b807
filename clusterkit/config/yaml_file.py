"""YAML with positions: every complaint about a file names its line and column.

PyYAML's C parser gives the node tree with marks; the plain data is built from it, and pydantic's
complaints are mapped back onto the marks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from clusterkit.config.suggest import suggest
from clusterkit.errors import ConfigFileError

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[str | int, ...]

_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")  #: of collections

MAX_DEPTH = 64  #: nesting beyond this is refused; no file a person writes comes near it


@dataclass(frozen=True)
class Position:
    """A place in a file; both numbers count from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class YamlDocument:
    """Parsed YAML: plain data plus the position of every key and item in it."""

    source: str
    data: Any
    positions: Mapping[Location, Position]

    def position(self, location: Location) -> Position:
        """The position of `location`, or of its nearest known ancestor."""
        while location and location not in self.positions:
            location = location[:-1]
        return self.positions.get(location, Position(1, 1))

    def error(self, location: Location, problem: str) -> ConfigFileError:
        """A `ConfigFileError` pointing at `location`."""
        at = self.position(location)
        path = ".".join(str(part) for part in location)
        return ConfigFileError(self.source, at.line, at.column, problem, path)


def parse_yaml(text: str, source: str) -> YamlDocument:
    """Parse one YAML document of plain values.

    Raises `ConfigFileError` on bad syntax, duplicate keys, keys that are not text, aliases
    (they would let a small file unfold into a huge one) and tags other than YAML's own.
    """
    try:
        _refuse_bombs(text, source)
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigFileError(source, line, column, f"malformed YAML: {problem}") from error
    except yaml.YAMLError as error:
        raise ConfigFileError(source, 1, 1, f"malformed YAML: {error}") from error
    except UnicodeEncodeError as error:
        raise ConfigFileError(source, 1, 1, f"malformed YAML: {error.reason}") from error
    if root is None:
        raise ConfigFileError(source, 1, 1, "the file is empty; expected a mapping")
    builder = _Builder(source)
    data = builder.build(root, ())
    return YamlDocument(source, data, builder.positions)


def _refuse_bombs(text: str, source: str) -> None:
    # Before the tree is built: the C library builds it by recursion and takes the whole process down
    # when its stack ends.
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        mark = event.start_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        if isinstance(event, yaml.AliasEvent):
            problem = "aliases (*name) are not supported; write the value out"
            raise ConfigFileError(source, line, column, problem)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ConfigFileError(source, line, column, f"nested deeper than {MAX_DEPTH} levels")


def read_yaml(path: Path) -> YamlDocument:
    """Read and parse a file. Raises `ConfigFileError`, also when it is missing or not UTF-8."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        raise ConfigFileError(str(path), line, column, f"not UTF-8 text: {error.reason}") from error
    except OSError as error:
        raise ConfigFileError(str(path), 1, 1, f"cannot be read: {error.strerror}") from error
    return parse_yaml(text, str(path))


def validate(model: type[Model], document: YamlDocument) -> Model:
    """Turn a document into `model`. Raises `ConfigFileError` at the first thing that is wrong."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        first = error.errors()[0]
        raise document.error(tuple(first["loc"]), describe_problem(first, model)) from error


def describe_problem(problem: Mapping[str, Any], model: type[BaseModel] | None = None) -> str:
    """One pydantic complaint as a sentence that says what was found and what was expected."""
    kind, where = problem["type"], problem["loc"]
    if kind == "extra_forbidden":
        return f"unknown key {where[-1]!r}{suggest(str(where[-1]), _valid_keys(model, where))}"
    if kind == "missing":
        return f"missing key {where[-1]!r}"
    value = problem.get("input")
    shown = f" (found {value!r})" if isinstance(value, str | int | float | bool) or value is None else ""
    return f"{str(problem['msg']).removeprefix('Value error, ')}{shown}"


def _valid_keys(model: type[BaseModel] | None, where: Location) -> list[str]:
    if model is None or len(where) != 1:
        return []
    return list(model.model_fields)


class _Builder:
    def __init__(self, source: str) -> None:
        self._source = source
        self.positions: dict[Location, Position] = {}
        self._scalars = yaml.CSafeLoader("")

    def build(self, node: yaml.Node, location: Location) -> Any:
        at = Position(node.start_mark.line + 1, node.start_mark.column + 1)
        self.positions.setdefault(location, at)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if node.tag not in _PLAIN_TAGS:
            raise self._error(node, f"unsupported tag {node.tag!r}; only plain values are allowed")
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*location, index)) for index, item in enumerate(node.value)]
        return self._mapping(node, location)

    def _mapping(self, node: yaml.Node, location: Location) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if isinstance(key, bool) and isinstance(key_node.value, str):
                key = key_node.value  # `on:` and `yes:` are keys here, not booleans
            if not isinstance(key, str):
                raise self._error(key_node, "a key must be text")
            if key in result:
                raise self._error(key_node, f"duplicate key {key!r}")
            self.positions[(*location, key)] = Position(
                key_node.start_mark.line + 1, key_node.start_mark.column + 1
            )
            result[key] = self.build(value_node, (*location, key))
        return result

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        try:
            return self._scalars.construct_object(node)
        except yaml.YAMLError as error:
            raise self._error(node, f"unsupported tag {node.tag!r}; only plain values are allowed") from error
        except (ValueError, LookupError, AttributeError) as error:
            # What the library raises when the text of a scalar is not what its tag says.
            raise self._error(node, f"not a valid {node.tag.rpartition(':')[2]}: {node.value!r}") from error

    def _error(self, node: yaml.Node, problem: str) -> ConfigFileError:
        return ConfigFileError(self._source, node.start_mark.line + 1, node.start_mark.column + 1, problem)
