"""Repeat nodes until something is true, within a bound."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pydantic import Field

from pipecatapp.nodes.base import Block, NodeConfig
from pipecatapp.workflow.errors import ErrorCode, NodeError
from pipecatapp.workflow.spec import BlockSpec, EndedRound, Rounds


class Carried(NodeConfig):
    """A value handed from one round to the next."""

    start: Any = Field(description="In the first round.")
    next: Any = Field(description="After each round, from what it made.")


class LoopConfig(NodeConfig):
    """When to stop and what to hand on."""

    max_iterations: int = Field(ge=1, le=1000, description="The bound; beyond it the loop fails.")
    until: Any = Field(description="Asked after each round; the loop ends when it is true.")
    carry: dict[str, Carried] = Field({}, description="Values handed on from round to round, by name.")
    outputs: dict[str, Any] = Field({}, description="Output ports, from the last round.")


def _variables(config: Mapping[str, Any], type_of: Callable[[Any], str]) -> Mapping[str, str]:
    carried = config.get("carry") or {}
    return {"index": "number", **{name: type_of(value["start"]) for name, value in carried.items()}}


def _begin(config: LoopConfig) -> Rounds:
    carry = {name: value.start for name, value in config.carry.items()}
    return Rounds({"max_iterations": config.max_iterations, "carry": carry, "done": False})


def _round(rounds: Rounds, index: int) -> Mapping[str, Any] | None:
    return None if rounds.kept["done"] else {"index": index, **rounds.kept["carry"]}


def _after(rounds: Rounds, ended: EndedRound) -> Rounds:
    done = ended.config["until"].evaluate(ended.names)
    if not isinstance(done, bool):
        raise NodeError(ErrorCode.INVALID_CONFIG, f"`until` must be true or false, not {done!r:.80}")
    if done:
        return Rounds({**rounds.kept, "done": True})
    carried = ended.config.get("carry", {})
    carry = {name: value["next"].evaluate(ended.names) for name, value in carried.items()}
    bound = rounds.kept["max_iterations"]
    if ended.index + 1 == bound:
        raise NodeError(
            ErrorCode.LOOP_EXHAUSTED,
            f"loop {ended.block!r} was not done after {bound} rounds (max_iterations)",
        )
    return Rounds({**rounds.kept, "carry": carry})


class LoopNode(Block[LoopConfig]):
    """Repeats the nodes under `do` until `until` is true; fails when `max_iterations` is reached."""

    type: ClassVar[str] = "loop"
    Config: ClassVar[Any] = LoopConfig
    static: ClassVar[frozenset[str]] = frozenset({"max_iterations"})
    deferred: ClassVar[Mapping[tuple[str, ...], str]] = {
        ("until",): "bool",
        ("carry", "*", "next"): "any",
        ("outputs", "*"): "any",
    }
    block: ClassVar[BlockSpec | None] = BlockSpec(
        _variables, collects=False, begin=_begin, round=_round, after=_after
    )
