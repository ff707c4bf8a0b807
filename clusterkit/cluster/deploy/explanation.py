"""What a plan of Nomad would change, and why a job did not become healthy, in lines for a person."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clusterkit.cluster.consul import CheckStatus, ServiceCheck
from clusterkit.cluster.deploy.decide import Rollout, suspect
from clusterkit.cluster.nomad_records import Allocation, Plan

Diff = Mapping[str, Any]  #: as Nomad's API writes it

LAST_EVENTS = 6  #: of a task that failed


@dataclass(frozen=True, kw_only=True)
class JobFailure:
    """What there is to see of a job that did not become healthy."""

    job: str
    rollout: Rollout | None = None  #: None: nothing was submitted
    allocation: Allocation | None = None  #: the newest
    checks: Sequence[ServiceCheck] = ()  #: of its service
    output: Mapping[str, str] = field(default_factory=dict)  #: stderr and stdout → the last lines


def plan_lines(job: str, plan: Plan) -> list[str]:
    """One line for each field that the plan would change, then what becomes of each group's instances."""
    diff = plan.diff
    lines = [f"Job {job}: {diff['Type']}"]
    if diff["Type"] == "Edited":
        lines += _changes("", diff)
        for group in _changed(diff, "TaskGroups"):
            lines += _changes(f"{group['Name']}.", group)
            for task in _changed(group, "Tasks"):
                lines += _changes(f"{group['Name']}.{task['Name']}.", task)
    for group_name, kinds in plan.updates.items():
        counts = [f"{kind} {count}" for kind, count in kinds.items() if count]
        lines.append(f"{group_name}: {', '.join(counts)}")
    return lines


def _changes(where: str, part: Diff) -> Iterator[str]:
    for changed in _changed(part, "Fields"):
        yield f"{where}{changed['Name']}: {json.dumps(changed['Old'])} -> {json.dumps(changed['New'])}"
    for inner in _changed(part, "Objects"):
        yield from _changes(f"{where}{inner['Name']}.", inner)


def _changed(part: Diff, kind: str) -> list[Diff]:
    return [one for one in part.get(kind) or [] if one["Type"] != "None"]


def without_place(plan: Plan) -> list[str]:
    """Why the scheduler would find no place, one line a task group; empty when it finds one for all."""
    lines = []
    for group, unplaced in plan.unplaced.items():
        obstacles = [f"{reason} on {hosts}" for reason, hosts in unplaced.obstacles.items()]
        said = f"{group}: {unplaced.count} without a place; {unplaced.hosts_looked_at} hosts looked at"
        lines.append(", ".join([said, *obstacles]))
    return lines


def failure_lines(failure: JobFailure) -> list[str]:
    """How the deployment ended, what became of the newest allocation, and what it wrote last."""
    lines = [f"{failure.job} did not become healthy."]
    if failure.rollout is not None and not failure.rollout.succeeded:
        lines.append(f"Deployment: {_end(failure.rollout)}")
    if failure.allocation is None:
        return [*lines, "Nomad made no allocation of it."]
    return [*lines, *_allocation(failure.allocation), *_signs(failure)]


def _end(rollout: Rollout) -> str:
    if rollout.deployment is not None:
        return rollout.deployment.description
    if rollout.evaluation is not None:
        return rollout.evaluation.description or f"none; the evaluation is {rollout.evaluation.status}"
    return "none; Nomad did not answer in time"


def _allocation(allocation: Allocation) -> Iterator[str]:
    state = f"{allocation.client_status} ({allocation.description})"
    yield f"Allocation {allocation.id[:8]} on {allocation.node_name}: {state}"
    if task := suspect(allocation):
        for event in allocation.tasks[task].events[-LAST_EVENTS:]:
            yield f"  {event.type}: {event.message}"


def _signs(failure: JobFailure) -> Iterator[str]:
    for check in failure.checks:
        if check.status is not CheckStatus.PASSING:
            yield f"  Check {check.name} on {check.node}: {check.output.strip()}"
    for stream, text in failure.output.items():
        if text.strip():
            yield f"Last lines of {stream}:"
            yield from (f"  {line}" for line in text.strip().splitlines())
