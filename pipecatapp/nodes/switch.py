"""Choose a branch."""

from typing import Any, ClassVar

from pydantic import Field

from pipecatapp.nodes.base import Branch, Node, NodeConfig, NodeContext
from pipecatapp.workflow.errors import ErrorCode, NodeError
from pipecatapp.workflow.functions import EvaluationError, to_text


class SwitchConfig(NodeConfig):
    """What to look at and where to go."""

    on: Any = Field(description="The value that decides.")
    cases: dict[str, list[str]] = Field(description="Value -> the nodes it leads to.")
    default: list[str] | None = Field(None, description="The nodes for every other value.")


class SwitchNode(Node[SwitchConfig]):
    """Leads to the nodes of one case; the others are skipped."""

    type: ClassVar[str] = "switch"
    Config: ClassVar[Any] = SwitchConfig
    outputs: ClassVar[dict[str, str]] = {"case": "text"}
    static: ClassVar[frozenset[str]] = frozenset({"cases", "default"})
    leads_to: ClassVar[tuple[tuple[str, ...], ...]] = (("cases", "*"), ("default",))

    async def run(self, config: SwitchConfig, context: NodeContext) -> Branch:
        """See `Node.run`."""
        try:
            value = "null" if config.on is None else to_text(config.on)
        except EvaluationError as error:
            raise NodeError(ErrorCode.INVALID_CONFIG, f"cannot choose by this value: {error}") from error
        if value in config.cases:
            return Branch({"case": value}, frozenset(config.cases[value]))
        if config.default is None:
            cases = ", ".join(config.cases)
            raise NodeError(ErrorCode.NO_CASE, f"no case for {value!r} and no default (cases: {cases})")
        return Branch({"case": "default"}, frozenset(config.default))
