"""What the expressions of a node can see while a run goes on."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipecatapp.workflow.changes import Changes
from pipecatapp.workflow.graph import Graph, Scope, block_of, round_of
from pipecatapp.workflow.journal import NodeRow, NodeStatus, RoundRow
from pipecatapp.workflow.ports import nothing


class Names(Mapping[str, Any]):
    """The nodes that have ended, by id, and the variables: those of a round and of all rounds around it."""

    def __init__(self, graph: Graph, nodes: Changes[NodeRow], rounds: Changes[RoundRow], round_: str) -> None:
        """`round_`: the round in which the expression stands."""
        self._nodes = nodes
        self._frames: list[tuple[str, Scope, Mapping[str, Any]]] = []
        while True:
            prefix = f"{round_}." if round_ else ""
            self._frames.append((prefix, graph.body(round_), rounds[round_].variables))
            if not round_:
                break
            round_ = round_of(block_of(round_))

    def __getitem__(self, name: str) -> Any:
        """A variable, or the outputs of a node. Raises `KeyError`, also for a node that has not ended."""
        for prefix, scope, variables in self._frames:
            if name in variables:
                return variables[name]
            if name in scope.nodes:
                row = self._nodes[prefix + name]
                if row.status is NodeStatus.SKIPPED:
                    return nothing(scope.nodes[name])
                if row.outputs is not None:
                    return row.outputs
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        """The names that have a value."""
        for prefix, scope, variables in self._frames:
            yield from variables
            for id_ in scope.nodes:
                row = self._nodes[prefix + id_]
                if row.status is NodeStatus.SKIPPED or row.outputs is not None:
                    yield id_

    def __len__(self) -> int:
        """How many names have a value."""
        return sum(1 for _ in self)
