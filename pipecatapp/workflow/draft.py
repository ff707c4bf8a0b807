"""First pass over a workflow file: every node with its keys checked and its expressions compiled."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from clusterkit.config.suggest import suggest
from clusterkit.config.yaml_file import Location, YamlDocument, describe_problem
from clusterkit.errors import ConfigFileError
from pipecatapp.workflow.expressions import Compiler, Deferred, ExpressionError, Template
from pipecatapp.workflow.model import IDENTIFIER, CommonKeys
from pipecatapp.workflow.spec import NodeSpec, Pattern

#: Names that mean something in every expression, so no node may have them.
RESERVED = frozenset({"inputs", "error"})

#: A template and where it stands.
Placed = tuple[Location, Template]

_COMMON = frozenset(CommonKeys.model_fields)


@dataclass(frozen=True, eq=False)
class Draft:
    """A node whose own keys are right; how it fits with the others is not known yet."""

    id: str
    path: str
    location: Location
    spec: NodeSpec
    common: CommonKeys
    when: Any
    fallback: Any
    config: Mapping[str, Any]
    body: Mapping[str, "Draft"] | None


class Drafting:
    """Reads the nodes of one document."""

    def __init__(self, document: YamlDocument, specs: Mapping[str, NodeSpec]) -> None:
        """`specs`: the known node types by name."""
        self._document, self._specs = document, specs
        self._compiler = Compiler()

    def nodes(self, raw: Mapping[str, Any], location: Location, prefix: str = "") -> dict[str, Draft]:
        """The nodes of one scope. Raises `ConfigFileError`."""
        return {id_: self._node(id_, keys, (*location, id_), f"{prefix}{id_}") for id_, keys in raw.items()}

    def compile(self, value: Any, location: Location) -> Any:
        """`value` with its expressions compiled, at any depth. Raises `ConfigFileError`."""
        if isinstance(value, str):
            at = self._document.position(location)
            try:
                where = f"{self._document.source}:{at.line}:{at.column}"
                return self._compiler.compile(value, where) or value
            except ExpressionError as error:
                raise self._document.error(location, error.problem) from error
        if isinstance(value, Mapping):
            return {key: self.compile(item, (*location, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.compile(item, (*location, index)) for index, item in enumerate(value)]
        return value

    def _node(self, id_: str, keys: Any, location: Location, path: str) -> Draft:
        if id_ in RESERVED:
            raise self._document.error(location, f"{id_!r} has a meaning of its own; choose another id")
        if not isinstance(keys, Mapping):
            raise self._document.error(location, "expected a mapping with the node's keys")
        spec = self._spec(keys, location)
        common = {key: value for key, value in keys.items() if key in _COMMON}
        config = {key: value for key, value in keys.items() if key not in _COMMON and key != "do"}
        self._refuse_unknown(spec, keys, location)
        checked = self._check(CommonKeys, common, location)
        if checked.on_crash != "fail":
            at = (*location, "on_crash")
            raise unsupported(self._document, at, f"on_crash: {checked.on_crash}", "use `fail`")
        self._check(spec.config, config, location)
        compiled = {key: self._field(spec, key, value, location) for key, value in config.items()}
        body = self._body(spec, keys, location, path)
        if spec.block and spec.block.collects and "outputs" not in config and body:
            compiled["outputs"] = self._collected(list(body.values())[-1], location)
        return Draft(
            id=id_,
            path=path,
            location=location,
            spec=spec,
            common=checked,
            when=self.compile(checked.when, (*location, "when")),
            fallback=self.compile(checked.fallback, (*location, "fallback")),
            config=compiled,
            body=body,
        )

    def _spec(self, keys: Mapping[str, Any], location: Location) -> NodeSpec:
        type_ = keys.get("type")
        if not isinstance(type_, str):
            raise self._document.error(location, "missing key 'type'" + suggest("", self._specs))
        if type_ not in self._specs:
            raise self._document.error(
                (*location, "type"), f"unknown node type {type_!r}{suggest(type_, self._specs)}"
            )
        return self._specs[type_]

    def _refuse_unknown(self, spec: NodeSpec, keys: Mapping[str, Any], location: Location) -> None:
        legal = _COMMON | set(spec.config.model_fields) | ({"do"} if spec.block else set())
        for key in keys:
            if key not in legal:
                raise self._document.error((*location, key), f"unknown key {key!r}{suggest(key, legal)}")

    def _check(self, model: type[BaseModel], data: Mapping[str, Any], location: Location) -> Any:
        """Validate literals; a text with an expression in it may become anything, so it is let through."""
        try:
            return model.model_validate(data)
        except ValidationError as error:
            for problem in error.errors():
                value = problem["input"]
                if not (isinstance(value, str) and "${{" in value):
                    at = (*location, *problem["loc"])
                    raise self._document.error(at, describe_problem(problem, model)) from error
        return None

    def _field(self, spec: NodeSpec, key: str, value: Any, location: Location) -> Any:
        compiled = self.compile(value, (*location, key))
        if key in spec.static and next(walk(compiled, ()), None) is not None:
            raise self._document.error((*location, key), f"{key!r} must be written out, without `${{{{ }}}}`")
        return _defer(compiled, (key,), spec.deferred)

    def _body(self, spec: NodeSpec, keys: Mapping[str, Any], location: Location, path: str) -> Any:
        if spec.block is None:
            return None
        nodes = keys.get("do")
        if not isinstance(nodes, Mapping) or not nodes:
            raise self._document.error((*location, "do"), f"a {spec.type} needs nodes under 'do'")
        for id_ in nodes:
            check_identifier(self._document, id_, (*location, "do", id_))
        return self.nodes(nodes, (*location, "do"), f"{path}.")

    def _collected(self, last: Draft, location: Location) -> Any:
        port = next(iter((*last.spec.outputs, *last.config.get("outputs", ()))), None)
        if port is None:
            return {}
        return {"results": Deferred(self.compile(f"${{{{ {last.id}.{port} }}}}", location))}


def unsupported(document: YamlDocument, location: Location, what: str, instead: str) -> ConfigFileError:
    """The refusal of something the format has and this version cannot honour."""
    return document.error(location, f"`{what}` is not supported yet by this version; {instead}")


def check_identifier(document: YamlDocument, name: str, location: Location) -> None:
    """Refuse a name that expressions could not read. Raises `ConfigFileError`."""
    if not re.match(IDENTIFIER, name):
        raise document.error(
            location, f"{name!r} is no name: use small letters, digits and _, a letter first"
        )


def walk(tree: Any, location: Location, *, deferred: bool = False) -> Iterator[Placed]:
    """The templates of a compiled tree with their places: those outside deferred parts, or those inside."""
    if isinstance(tree, Template):
        if not deferred:
            yield location, tree
    elif isinstance(tree, Deferred):
        if deferred:
            yield from walk(tree.tree, location)
    elif isinstance(tree, Mapping):
        for key, item in tree.items():
            yield from walk(item, (*location, key), deferred=deferred)
    elif isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from walk(item, (*location, index), deferred=deferred)


def _defer(tree: Any, at: Pattern, patterns: Mapping[Pattern, str]) -> Any:
    if any(matches(pattern, at) for pattern in patterns):
        return Deferred(tree)
    if isinstance(tree, Mapping):
        return {key: _defer(item, (*at, key), patterns) for key, item in tree.items()}
    return tree


def matches(pattern: Pattern, at: Location) -> bool:
    """Whether a place in a configuration is meant by `pattern`."""
    return len(pattern) == len(at) and all(part in ("*", key) for part, key in zip(pattern, at, strict=True))


def matching(tree: Any, pattern: Pattern, at: Location = ()) -> Iterator[tuple[Location, Any]]:
    """Everything in a configuration that `pattern` means, with its place."""
    if not pattern:
        yield at, tree
    elif isinstance(tree, Mapping):
        for key in tree if pattern[0] == "*" else tree.keys() & {pattern[0]}:
            yield from matching(tree[key], pattern[1:], (*at, key))
