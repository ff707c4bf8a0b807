"""What the runner counts."""

from clusterkit.telemetry.metrics import Metrics, exemplar
from pipecatapp.workflow.journal import NodeStatus, RunStatus


class RunMetrics:
    """Latency of runs and nodes, in the registry of the service."""

    def __init__(self, metrics: Metrics) -> None:
        """Declare them."""
        self._runs = metrics.histogram(
            "hearth_workflow_run_seconds", "Time that a workflow run took.", ("workflow", "status")
        )
        self._nodes = metrics.histogram(
            "hearth_workflow_node_seconds", "Time that one try at a node took.", ("type", "status")
        )

    def run(self, workflow: str, status: RunStatus, seconds: float) -> None:
        """A run is over."""
        self._runs.labels(workflow, status).observe(seconds, exemplar=exemplar())

    def node(self, type_: str, status: NodeStatus, seconds: float) -> None:
        """A try at a node is over."""
        self._nodes.labels(type_, status).observe(seconds, exemplar=exemplar())
