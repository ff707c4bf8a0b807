"""How a block goes from round to round, as its node type says it."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipecatapp.workflow.graph import GraphNode
from pipecatapp.workflow.ports import as_node_error, configure
from pipecatapp.workflow.spec import BlockSpec, EndedRound, Rounds


def begin(node: GraphNode, values: Mapping[str, Any]) -> Rounds:
    """What the block keeps at first. Raises `NodeError`."""
    try:
        return _spec(node).begin(configure(node, values))
    except Exception as error:  # the edge to a node type's code, which may be a plug-in's
        raise as_node_error(node, error) from error


def next_round(node: GraphNode, rounds: Rounds, index: int) -> Mapping[str, Any] | None:
    """The variables of a round; None when there is no further one. Raises `NodeError`."""
    try:
        return _spec(node).round(rounds, index)
    except Exception as error:
        raise as_node_error(node, error) from error


def after(node: GraphNode, rounds: Rounds, ended: EndedRound) -> tuple[Rounds, Mapping[str, Any] | None]:
    """What the block keeps after a round, and what the round adds to its outputs. Raises `NodeError`."""
    spec = _spec(node)
    try:
        outputs = _outputs(node, ended.names) if spec.collects else None
        return spec.after(rounds, ended), outputs
    except Exception as error:
        raise as_node_error(node, error) from error


def collected(node: GraphNode, rounds: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """The outputs of a block that collects: what every round added, in the order of the rounds."""
    added = [outputs for outputs in rounds if outputs is not None]
    return {port: [outputs[port] for outputs in added] for port in node.config.get("outputs", {})}


def of_last_round(node: GraphNode, names: Mapping[str, Any] | None) -> dict[str, Any]:
    """The outputs of any other block, from what its last round sees, if there was one. Raises `NodeError`."""
    try:
        return dict.fromkeys(node.config.get("outputs", {})) if names is None else _outputs(node, names)
    except Exception as error:
        raise as_node_error(node, error) from error


def _outputs(node: GraphNode, names: Mapping[str, Any]) -> dict[str, Any]:
    return {port: tree.evaluate(names) for port, tree in node.config.get("outputs", {}).items()}


def _spec(node: GraphNode) -> BlockSpec:
    assert node.spec.block is not None
    return node.spec.block
