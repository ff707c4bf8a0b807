"""What the runner counts."""

from clusterkit.telemetry.metrics import Metrics, exemplar
from pipecatapp.workflow.journal import NodeStatus, RunStatus


class RunMetrics:
    """Latency of runs and nodes, and tool calls, in the registry of the service."""

    def __init__(self, metrics: Metrics) -> None:
        """Declare them."""
        self._runs = metrics.histogram(
            "hearth_workflow_run_seconds", "Time that a workflow run took.", ("workflow", "status")
        )
        self._nodes = metrics.histogram(
            "hearth_workflow_node_seconds", "Time that one try at a node took.", ("type", "status")
        )
        self._tools = metrics.counter("hearth_tool_calls", "Tool calls by outcome.", ("tool", "outcome"))

    def run(self, workflow: str, status: RunStatus, seconds: float) -> None:
        """A run is over."""
        self._runs.labels(workflow, status).observe(seconds, exemplar=exemplar())

    def node(self, type_: str, status: NodeStatus, seconds: float) -> None:
        """A try at a node is over."""
        self._nodes.labels(type_, status).observe(seconds, exemplar=exemplar())

    def tool(self, name: str, *, succeeded: bool) -> None:
        """A tool call is over."""
        self._tools.labels(name, "success" if succeeded else "failure").inc(exemplar=exemplar())
