"""What goes into a node and what comes out of it, and whether it runs at all."""

from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from pipecatapp.workflow.errors import ErrorCode, Failure, NodeError, NodeTimeoutError
from pipecatapp.workflow.expressions import ExpressionError, render
from pipecatapp.workflow.graph import GraphNode
from pipecatapp.workflow.signals import TimerKind
from pipecatapp.workflow.types import convert, problem


def wanted(node: GraphNode, names: Mapping[str, Any]) -> bool:
    """Whether the `when` that a node has lets it run. Raises `NodeError`."""
    try:
        value = render(node.when, names)
    except ExpressionError as error:
        raise as_node_error(node, error) from error
    if not isinstance(value, bool):
        message = f"{node.where}: `when` must be true or false, not {value!r:.80}"
        raise NodeError(ErrorCode.INVALID_CONFIG, message)
    return value


def values_of(node: GraphNode, names: Mapping[str, Any]) -> dict[str, Any]:
    """A node's configuration with the values of its expressions. Raises `ExpressionError`."""
    inputs = node.spec.inputs
    return {key: convert(render(tree, names), inputs[key]) for key, tree in node.config.items()}


def configure(node: GraphNode, values: Mapping[str, Any]) -> Any:
    """The checked configuration, of the type that the node's spec names. Raises `NodeError`."""
    try:
        return node.spec.config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise NodeError(
            ErrorCode.INVALID_CONFIG, f"{node.where}: {at} - {first['msg']} (found {first['input']!r:.80})"
        ) from error


def check_outputs(node: GraphNode, outputs: Mapping[str, Any]) -> None:
    """Refuse outputs that the node's ports do not take. Raises `NodeError`."""
    ports = {port: wire for port, wire in node.outputs.items() if port != "error"}
    unknown = outputs.keys() - ports.keys()
    missing = ports.keys() - outputs.keys()
    if unknown or missing:
        wrong = f"unknown outputs {sorted(unknown)}" if unknown else f"missing outputs {sorted(missing)}"
        raise NodeError(ErrorCode.INVALID_OUTPUT, f"{node.where}: {node.spec.type!r} gave {wrong}")
    for port, wire in ports.items():
        value = outputs[port]
        wrong_value = None if value is None else problem(value, wire)
        if wrong_value:
            raise NodeError(ErrorCode.INVALID_OUTPUT, f"{node.where}: output {port!r}: {wrong_value}")


def nothing(node: GraphNode) -> dict[str, Any]:
    """The outputs of a node that gave none."""
    return dict.fromkeys(node.outputs)


def stand_in(node: GraphNode, names: Mapping[str, Any], failure: Failure) -> dict[str, Any] | None:
    """What others read in place of a failed node's outputs; None when its round must fail.

    Raises `ExpressionError` when the `fallback` cannot be evaluated.
    """
    error = failure.as_value()
    if node.fallback is not None:
        seen = ChainMap({"error": error}, names)  # type: ignore[arg-type]  # it is only read
        return {**nothing(node), "error": error, **render(node.fallback, seen)}
    return None if node.common.on_error == "fail" else {**nothing(node), "error": error}


def time_limits(node: GraphNode) -> Mapping[TimerKind, float]:
    """The limits of one attempt at a node, in seconds."""
    limits = {TimerKind.TIMEOUT: node.common.timeout, TimerKind.IDLE_TIMEOUT: node.common.idle_timeout}
    return {kind: seconds for kind, seconds in limits.items() if seconds is not None}


def limit_reached(kind: TimerKind, seconds: float) -> NodeTimeoutError:
    """The error of an attempt that reached one of its limits."""
    if kind is TimerKind.TIMEOUT:
        return NodeTimeoutError(ErrorCode.TIMEOUT, f"not done within {seconds:g} s (timeout)")
    return NodeTimeoutError(ErrorCode.IDLE_TIMEOUT, f"no sign of life for {seconds:g} s (idle_timeout)")


def as_node_error(node: GraphNode, error: Exception) -> NodeError:
    """Whatever an attempt at `node` raised, as the one kind of error that nodes have."""
    if isinstance(error, NodeError):
        return error
    if isinstance(error, ExpressionError):
        return NodeError(ErrorCode.EXPRESSION, str(error))
    return NodeError(ErrorCode.INTERNAL, f"{node.where}: {type(error).__name__}: {error}")
