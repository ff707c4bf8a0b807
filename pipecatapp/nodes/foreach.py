"""Do the same for every item of a list, several at once."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pydantic import Field

from pipecatapp.nodes.base import Block, NodeConfig
from pipecatapp.workflow.errors import ErrorCode, NodeError
from pipecatapp.workflow.spec import BlockSpec, Rounds
from pipecatapp.workflow.types import element

MAX_ITEMS = 1_000  #: longer lists are refused rather than half done


class ForeachConfig(NodeConfig):
    """The list and how many of its items at once."""

    items: list[Any] = Field(description="What to go through; `item` and `index` are seen in `do`.")
    max_parallel: int = Field(ge=1, le=64, description="How many items at once.")
    outputs: dict[str, Any] = Field({}, description="Output ports: lists, in the order of the items.")


def _variables(config: Mapping[str, Any], type_of: Callable[[Any], str]) -> Mapping[str, str]:
    return {"item": element(type_of(config.get("items"))), "index": "number"}


def _begin(config: ForeachConfig) -> Rounds:
    if len(config.items) > MAX_ITEMS:
        raise NodeError(
            ErrorCode.TOO_MANY_ITEMS, f"{len(config.items)} items; at most {MAX_ITEMS} are allowed"
        )
    return Rounds({"items": config.items}, at_once=config.max_parallel)


def _round(rounds: Rounds, index: int) -> Mapping[str, Any] | None:
    items = rounds.kept["items"]
    return {"item": items[index], "index": index} if index < len(items) else None


class ForeachNode(Block[ForeachConfig]):
    """Runs the nodes under `do` once per item; the first failure stops the rest."""

    type: ClassVar[str] = "foreach"
    Config: ClassVar[Any] = ForeachConfig
    static: ClassVar[frozenset[str]] = frozenset({"max_parallel"})
    deferred: ClassVar[Mapping[tuple[str, ...], str]] = {("outputs", "*"): "any"}
    block: ClassVar[BlockSpec | None] = BlockSpec(_variables, collects=True, begin=_begin, round=_round)
