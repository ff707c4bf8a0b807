"""From the text of a workflow file to a checked graph; every complaint names file, line and column."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clusterkit.config.suggest import suggest
from clusterkit.config.yaml_file import Location, YamlDocument, parse_yaml, validate
from pipecatapp.workflow.draft import Draft, Drafting, check_identifier, unsupported, walk
from pipecatapp.workflow.expressions import Deferred, Template
from pipecatapp.workflow.graph import Graph, GraphNode, Scope
from pipecatapp.workflow.infer import infer
from pipecatapp.workflow.link import Linking, Links, relays
from pipecatapp.workflow.model import Input, WorkflowFile
from pipecatapp.workflow.spec import NodeSpec
from pipecatapp.workflow.types import compatible, parse, problem


def load_workflow(text: str, source: str, specs: Mapping[str, NodeSpec]) -> Graph:
    """Read, check and type a workflow. `specs`: the known node types. Raises `ConfigFileError`."""
    return load_document(parse_yaml(text, source), specs)


def load_document(document: YamlDocument, specs: Mapping[str, NodeSpec]) -> Graph:
    """As `load_workflow`, for a file that is parsed already."""
    file = validate(WorkflowFile, document)
    _refuse_unsupported(file, document)
    inputs = {name: _input(name, value, document) for name, value in file.inputs.items()}
    drafting = Drafting(document, specs)
    drafts = drafting.nodes(file.nodes, ("nodes",))
    linking = Linking(document)
    links = linking.scope(drafts, frozenset({"inputs"}))
    outer = _Names(inputs={name: value.type for name, value in inputs.items()})
    scope, names = _Typing(document, relays(drafts)).scope(drafts, links, outer)
    outputs = drafting.compile(file.outputs, ("outputs",))
    linking.read(walk(outputs, ("outputs",)), frozenset({"inputs", *drafts}))
    for location, template in walk(outputs, ("outputs",)):
        names.check(template, location, document)
    for id_ in file.ui:
        if id_ not in drafts:
            raise document.error(("ui", id_), f"unknown node {id_!r}{suggest(id_, drafts)}")
    return Graph(
        name=file.name,
        description=file.description,
        source=document.source,
        inputs=inputs,
        outputs=outputs,
        output_types={name: infer(tree, names.type_of) for name, tree in outputs.items()},
        wall=file.budget.wall,
        scope=scope,
        ui=file.ui,
    )


def _refuse_unsupported(file: WorkflowFile, document: YamlDocument) -> None:
    if file.durability != "none":
        raise unsupported(document, ("durability",), f"durability: {file.durability}", "use `none`")
    for key in ("concurrency", "on_failure"):
        if key in file.model_fields_set:
            raise unsupported(document, (key,), key, "leave it out")
    for key in file.budget.model_fields_set - {"wall"}:
        raise unsupported(document, ("budget", key), f"budget.{key}", "only `wall` is")


def _input(name: str, declared: Input, document: YamlDocument) -> Input:
    try:
        wire = parse(declared.type)
    except ValueError as error:
        raise document.error(("inputs", name, "type"), str(error)) from error
    wrong = None if declared.required or declared.default is None else problem(declared.default, wire)
    if wrong:
        raise document.error(("inputs", name, "default"), wrong)
    return declared.model_copy(update={"type": wire})


class _UnknownPort(Exception):
    """A reference names a port that is not there; the message says which ones are."""


@dataclass(frozen=True)
class _Names:
    """What the expressions of a scope can see, with types."""

    inputs: Mapping[str, str]
    variables: Mapping[str, str] = field(default_factory=dict)
    nodes: dict[str, GraphNode] = field(default_factory=dict)

    def inner(self, variables: Mapping[str, str]) -> "_Names":
        """The names of a block's body."""
        return _Names(self.inputs, {**self.variables, **variables}, dict(self.nodes))

    def type_of(self, name: str, key: str | None) -> str:
        """The wire type of `name` or `name.key`. Raises `_UnknownPort`."""
        if name in self.variables:
            return self.variables[name] if key is None else "any"
        ports = self.inputs if name == "inputs" else self.nodes[name].outputs if name in self.nodes else None
        if ports is None:
            return "object" if key is None else "any"
        if key is None:
            return "object"
        if key not in ports:
            what = "input" if name == "inputs" else f"output of {name!r}"
            raise _UnknownPort(f"there is no {what} named {key!r}{suggest(key, ports)}")
        return ports[key]

    def check(self, template: Template, location: Location, document: YamlDocument) -> None:
        """Refuse references to ports that are not there. Raises `ConfigFileError`."""
        for reference in template.references:
            key = reference.path[0] if reference.path else None
            try:
                self.type_of(reference.name, key if isinstance(key, str) else None)
            except _UnknownPort as error:
                raise document.error(location, str(error)) from error


class _Typing:
    """Third pass: types along the edges, and the finished nodes."""

    def __init__(self, document: YamlDocument, relayed: Mapping[str, str]) -> None:
        self._document, self._relayed = document, relayed

    def scope(self, drafts: Mapping[str, Draft], links: Links, names: _Names) -> tuple[Scope, _Names]:
        for id_ in links.order:
            names.nodes[id_] = self._node(drafts[id_], links, names)
        nodes = {id_: names.nodes[id_] for id_ in drafts}
        following: dict[str, list[str]] = {id_: [] for id_ in drafts}
        for id_, node in nodes.items():
            for source in dict.fromkeys(edge.source for edge in node.edges):
                following[source].append(id_)
        return Scope(nodes, {id_: tuple(ids) for id_, ids in following.items()}), names

    def _node(self, draft: Draft, links: Links, names: _Names) -> GraphNode:
        self._check_inputs(draft, names)
        body, inner = None, names
        if draft.body is not None and draft.spec.block is not None:
            variables = draft.spec.block.variables(draft.config, lambda tree: infer(tree, names.type_of))
            body, inner = self.scope(draft.body, links.bodies[draft.id], names.inner(variables))
            for location, template in walk(draft.config, draft.location, deferred=True):
                inner.check(template, location, self._document)
            self._check_deferred(draft, inner)
        at = self._document.position(draft.location)
        outputs = self._outputs(draft, inner)
        self._check_fallback(draft, outputs, names)
        return GraphNode(
            id=draft.id,
            path=draft.path,
            where=f"{self._document.source}:{at.line}:{at.column}",
            spec=draft.spec,
            common=draft.common,
            when=draft.when,
            config=draft.config,
            fallback=draft.fallback,
            outputs=outputs,
            edges=links.edges[draft.id],
            body=body,
            relay_to=self._relayed.get(draft.path),
        )

    def _check_inputs(self, draft: Draft, names: _Names) -> None:
        inputs = draft.spec.inputs
        for location, template in walk(draft.config, draft.location):
            names.check(template, location, self._document)
        for key, tree in draft.config.items():
            if next(walk(tree, ()), None) is not None:
                self._check_type(tree, inputs[key], (*draft.location, key), names)
        for location, template in walk(draft.when, (*draft.location, "when")):
            names.check(template, location, self._document)
        if draft.when is not None:
            self._check_type(draft.when, "bool", (*draft.location, "when"), names)

    def _check_type(self, tree: Any, target: str, location: Location, names: _Names) -> None:
        source = infer(tree, names.type_of)
        if not compatible(source, target):
            raise self._document.error(location, f"{location[-1]!r} takes {target}, but this is {source}")

    def _check_deferred(self, draft: Draft, names: _Names) -> None:
        for pattern, target in draft.spec.deferred.items():
            tree = draft.config.get(pattern[0]) if len(pattern) == 1 else None
            if isinstance(tree, Deferred):
                self._check_type(tree.tree, target, (*draft.location, pattern[0]), names)

    def _outputs(self, draft: Draft, names: _Names) -> dict[str, str]:
        outputs = dict(draft.spec.outputs)
        declared = draft.config.get("outputs", {}) if draft.spec.block else {}
        for port, tree in declared.items():
            check_identifier(self._document, port, (*draft.location, "outputs", port))
            wire = infer(tree.tree if isinstance(tree, Deferred) else tree, names.type_of)
            collects = draft.spec.block is not None and draft.spec.block.collects
            outputs[port] = f"list[{wire}]" if collects else wire
        if draft.common.on_error != "fail" or draft.common.fallback is not None:
            outputs["error"] = "object"
        return outputs

    def _check_fallback(self, draft: Draft, outputs: Mapping[str, str], names: _Names) -> None:
        if draft.fallback is None:
            return
        at = (*draft.location, "fallback")
        for location, template in walk(draft.fallback, at):
            names.check(template, location, self._document)
        for port, tree in draft.fallback.items():
            if port not in outputs or port == "error":
                ports = [name for name in outputs if name != "error"]
                raise self._document.error((*at, port), f"unknown output {port!r}{suggest(port, ports)}")
            self._check_type(tree, outputs[port], (*at, port), names)
