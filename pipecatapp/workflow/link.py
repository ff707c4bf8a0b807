"""Second pass over a workflow file: edges, derived from what each node reads and names."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import nodes as syntax

from clusterkit.config.suggest import suggest
from clusterkit.config.yaml_file import Location, YamlDocument
from pipecatapp.workflow.draft import Draft, Placed, matching, walk
from pipecatapp.workflow.expressions import Deferred, Reference, Template
from pipecatapp.workflow.graph import Edge, EdgeKind


@dataclass(frozen=True)
class Links:
    """The edges of one scope."""

    edges: Mapping[str, tuple[Edge, ...]]
    order: tuple[str, ...]  #: every node after all that it waits for
    bodies: Mapping[str, "Links"]
    outside: frozenset[Edge]  #: what the scope reads from the scopes around it


class Linking:
    """Derives the edges of one document."""

    def __init__(self, document: YamlDocument) -> None:
        """`document` gives the positions for complaints."""
        self._document = document

    def scope(self, drafts: Mapping[str, Draft], visible: frozenset[str]) -> Links:
        """The links of one scope. `visible`: the names that the scopes around it offer."""
        edges: dict[str, dict[Edge, None]] = {id_: {} for id_ in drafts}
        bodies: dict[str, Links] = {}
        outside: set[Edge] = set()
        for draft in drafts.values():
            if draft.id in visible:
                raise self._document.error(
                    draft.location, f"{draft.id!r} already has a meaning outside this block"
                )
            needed = set(self._read(draft, frozenset(drafts) | visible))
            if draft.body is not None:
                bodies[draft.id], from_body = self._body(draft, (frozenset(drafts) | visible) - {draft.id})
                needed |= from_body
            edges[draft.id] |= {edge: None for edge in sorted(needed) if edge.source in drafts}
            outside |= {edge for edge in needed if edge.source not in drafts}
        for target, edge in self._control(drafts):
            edges[target][edge] = None
        order = self._order(drafts, edges)
        return Links(
            {id_: tuple(waits_for) for id_, waits_for in edges.items()}, order, bodies, frozenset(outside)
        )

    def _read(self, draft: Draft, names: frozenset[str]) -> Iterator[Edge]:
        at = draft.location
        yield from self.read(walk(draft.config, at), names)
        yield from self.read(walk(draft.when, (*at, "when")), names)
        for edge in self.read(walk(draft.fallback, (*at, "fallback")), names | {"error"}):
            if edge.source != "error":
                yield edge

    def _body(self, draft: Draft, visible: frozenset[str]) -> tuple[Links, set[Edge]]:
        assert draft.spec.block is not None
        assert draft.body is not None
        variables = frozenset(draft.spec.block.variables(draft.config, lambda _: "any"))
        links = self.scope(draft.body, visible | variables)
        names = visible | variables | frozenset(draft.body)
        later = set(self.read(walk(draft.config, draft.location, deferred=True), names))
        read = links.outside | later
        return links, {
            edge for edge in read if edge.source not in variables and edge.source not in draft.body
        }

    def read(self, templates: Iterable[Placed], names: frozenset[str]) -> list[Edge]:
        """The edges behind what `templates` read. Raises `ConfigFileError` for a name not in `names`."""
        edges: list[Edge] = []
        for location, template in templates:
            for reference in template.references:
                if reference.name not in names:
                    hint = suggest(reference.name, names)
                    raise self._document.error(location, f"unknown name {reference.name!r}{hint}")
                if reference.name != "inputs":
                    edges.append(Edge(reference.name, _kind(reference)))
        return edges

    def _control(self, drafts: Mapping[str, Draft]) -> Iterator[tuple[str, Edge]]:
        for draft in drafts.values():
            for index, id_ in enumerate(draft.common.needs):
                self._check_id(id_, drafts, (*draft.location, "needs", index))
                yield draft.id, Edge(id_, EdgeKind.AFTER)
            for pattern in draft.spec.leads_to:
                for at, ids in matching(draft.config, pattern):
                    for index, id_ in enumerate(ids or ()):
                        self._check_id(id_, drafts, (*draft.location, *at, index))
                        yield id_, Edge(draft.id, EdgeKind.CASE)
            if draft.common.on_error not in ("fail", "continue"):
                at = (*draft.location, "on_error")
                self._check_id(draft.common.on_error, drafts, at, "fail", "continue")
                yield draft.common.on_error, Edge(draft.id, EdgeKind.FAILURE)

    def _check_id(self, id_: str, drafts: Mapping[str, Draft], location: Location, *more: str) -> None:
        if id_ not in drafts:
            raise self._document.error(location, f"unknown node {id_!r}{suggest(id_, (*drafts, *more))}")

    def _order(
        self, drafts: Mapping[str, Draft], edges: Mapping[str, Mapping[Edge, None]]
    ) -> tuple[str, ...]:
        sources = {id_: {edge.source for edge in before} for id_, before in edges.items()}
        followers: dict[str, list[str]] = {id_: [] for id_ in drafts}
        for id_, before in sources.items():
            for source in before:
                followers[source].append(id_)
        waiting = {id_: len(before) for id_, before in sources.items()}
        ready = deque(id_ for id_, count in waiting.items() if count == 0)
        order: list[str] = []
        while ready:
            order.append(ready.popleft())
            for follower in followers[order[-1]]:
                waiting[follower] -= 1
                if waiting[follower] == 0:
                    ready.append(follower)
        if len(order) < len(drafts):
            circle = _circle({id_: before for id_, before in sources.items() if waiting[id_]})
            raise self._document.error(
                drafts[circle[0]].location,
                f"these nodes wait for each other: {' → '.join(circle)}; use a loop block to repeat nodes",
            )
        return tuple(order)


def _kind(reference: Reference) -> EdgeKind:
    return EdgeKind.ERROR if reference.path[:1] == ("error",) else EdgeKind.DATA


def _circle(sources: Mapping[str, set[str]]) -> list[str]:
    """A closed walk, in the direction of the data. Every node in `sources` has a source in it."""
    at = next(iter(sources))
    seen: list[str] = []
    while at not in seen:
        seen.append(at)
        at = min(source for source in sources[at] if source in sources)
    circle = [*seen[seen.index(at) :], at]
    return circle[::-1]


def relays(drafts: Mapping[str, Draft]) -> Mapping[str, str]:
    """Which node's text flows through which output node while it is still being made: path -> path.

    Only when it is certain: the output passes the text on as it is, and one live source alone feeds it.
    """
    relayed: dict[str, str] = {}
    for draft in drafts.values():
        field = draft.spec.passes_on
        if field is None or draft.config.get("stream") is not True or draft.when is not None:
            continue
        sources = set(_live(draft.config.get(field), drafts))
        if len(sources) == 1:
            relayed.setdefault(sources.pop(), draft.path)
    return relayed


def _live(tree: Any, drafts: Mapping[str, Draft]) -> Iterator[str]:
    if isinstance(tree, Deferred):
        tree = tree.tree
    if not isinstance(tree, Template) or tree.single is None:
        return
    for id_, port in _passed_through(tree.single):
        draft = drafts.get(id_)
        if draft is None:
            continue
        if draft.spec.outputs.get(port, "").startswith("stream["):
            yield draft.path
        elif draft.body is not None and draft.spec.block and not draft.spec.block.collects:
            outputs = draft.config.get("outputs", {})
            yield from _live(outputs.get(port), draft.body)


def _passed_through(node: syntax.Node) -> Sequence[tuple[str, str]]:
    """The (node, port) pairs of which the expression's value is one, unchanged."""
    if isinstance(node, syntax.Getattr) and isinstance(node.node, syntax.Name):
        return [(node.node.name, node.attr)]
    if isinstance(node, syntax.Filter) and node.name == "default" and node.node is not None:
        return [*_passed_through(node.node), *_passed_through(node.args[0])]
    if isinstance(node, syntax.CondExpr) and node.expr2 is not None:
        return [*_passed_through(node.expr1), *_passed_through(node.expr2)]
    if isinstance(node, syntax.Or):
        return [*_passed_through(node.left), *_passed_through(node.right)]
    return []
