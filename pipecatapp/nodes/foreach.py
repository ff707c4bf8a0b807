"""Do the same for every item of a list, several at once."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pydantic import Field

from pipecatapp.nodes.base import Node, NodeConfig, NodeContext
from pipecatapp.workflow.errors import ErrorCode, NodeError
from pipecatapp.workflow.spec import BlockSpec
from pipecatapp.workflow.types import element

MAX_ITEMS = 1_000  #: longer lists are refused rather than half done


class ForeachConfig(NodeConfig):
    """The list and how many of its items at once."""

    items: list[Any] = Field(description="What to go through; `item` and `index` are seen in `do`.")
    max_parallel: int = Field(ge=1, le=64, description="How many items at once.")
    outputs: dict[str, Any] = Field({}, description="Output ports: lists, in the order of the items.")


def _variables(config: Mapping[str, Any], type_of: Callable[[Any], str]) -> Mapping[str, str]:
    return {"item": element(type_of(config.get("items"))), "index": "number"}


class ForeachNode(Node[ForeachConfig]):
    """Runs the nodes under `do` once per item; the first failure stops the rest."""

    type: ClassVar[str] = "foreach"
    Config: ClassVar[Any] = ForeachConfig
    static: ClassVar[frozenset[str]] = frozenset({"max_parallel"})
    deferred: ClassVar[Mapping[tuple[str, ...], str]] = {("outputs", "*"): "any"}
    block: ClassVar[BlockSpec | None] = BlockSpec(_variables, collects=True)

    async def run(self, config: ForeachConfig, context: NodeContext) -> Mapping[str, Any]:
        """See `Node.run`."""
        assert context.body is not None
        if len(config.items) > MAX_ITEMS:
            raise NodeError(
                ErrorCode.TOO_MANY_ITEMS, f"{len(config.items)} items; at most {MAX_ITEMS} are allowed"
            )
        body, slots = context.body, asyncio.Semaphore(config.max_parallel)

        async def one(index: int, item: Any) -> dict[str, Any]:
            async with slots:
                names = await body.run(index, {"item": item, "index": index})
                return {port: value.evaluate(names) for port, value in config.outputs.items()}

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(index, item)) for index, item in enumerate(config.items)]
        results = [task.result() for task in tasks]
        return {port: [result[port] for result in results] for port in config.outputs}
