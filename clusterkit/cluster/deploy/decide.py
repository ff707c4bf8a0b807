"""What is to be done about a job, and when it is done. Nothing here asks anybody."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from clusterkit.cluster.consul import CatalogService, CheckStatus
from clusterkit.cluster.nomad import Job
from clusterkit.cluster.nomad_records import Allocation, Deployment, Evaluation, Plan

ENDED = frozenset(["successful", "failed", "cancelled"])  #: states in which a deployment stays

Lives = frozenset[tuple[str, int]]  #: running allocations, each with how often its tasks were started anew


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """What is known of the roll-out of a submission. That of an automatic revert is another one."""

    evaluation: Evaluation | None = None  #: None: Nomad did not answer in time
    deployment: Deployment | None = None  #: None as well where no allocation changes

    @property
    def succeeded(self) -> bool:
        """Whether what was submitted has taken over."""
        if self.evaluation is None or self.evaluation.status != "complete":
            return False
        if not self.evaluation.deployment:
            return True
        return self.deployment is not None and self.deployment.status == "successful"


def must_be_submitted(plan: Plan, registered: Job | None) -> bool:
    """Whether the job differs, is unknown (None) or has given up."""
    return plan.changes or registered is None or registered["Status"] == "dead"


def differing_items(held: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """The names of those that are new, gone or another."""
    return sorted(name for name in held.keys() | wanted.keys() if held.get(name) != wanted.get(name))


def lives(allocations: Iterable[Allocation]) -> Lives:
    """What runs, so that a restart in place is noticed too."""
    return frozenset(
        (one.id, sum(task.restarts for task in one.tasks.values()))
        for one in allocations
        if one.client_status == "running"
    )


def is_healthy(instances: Iterable[CatalogService]) -> bool:
    """Whether an instance passes every check, its own and those of its host."""
    return any(all(check.status is CheckStatus.PASSING for check in one.checks) for one in instances)


def suspect(allocation: Allocation) -> str:
    """The task that failed, else the one that comes first; "" when none was begun."""
    return max(allocation.tasks, key=lambda name: allocation.tasks[name].failed, default="")
