"""What needs a person's approval is not done without it."""

from pipecatapp.runs.hooks import Call, CallHook, CallKind
from pipecatapp.tools.base import Risk, ToolError
from pipecatapp.tools.registry import ToolRegistry
from pipecatapp.workflow.errors import ErrorCode


class ApprovalHook(CallHook):
    """Refuses tools that can do more than read and keep their own books: nobody can be asked yet."""

    def __init__(self, tools: ToolRegistry) -> None:
        """`tools` are those that there are."""
        self._tools = tools

    async def before(self, call: Call) -> None:
        """See `CallHook.before`. Raises `ToolError`, for a tool that does not exist too."""
        if call.kind is not CallKind.TOOL:
            return
        tool = self._tools.get(call.requested)
        if tool.risk not in (Risk.READ, Risk.KEEP):
            raise ToolError(
                f"tool {tool.name!r} has the risk {tool.risk.value!r} and needs a person's approval, "
                "which this version cannot ask for",
                ErrorCode.APPROVAL_REQUIRED,
            )
