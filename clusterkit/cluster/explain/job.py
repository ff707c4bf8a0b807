"""What a plan of Nomad would change, and why a job did not become healthy."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

Answer = Mapping[str, Any]  #: as Nomad's or Consul's API writes it

LAST_EVENTS = 6  #: of a task that failed


class JobFailure(TypedDict):
    """What is there to see of a job that did not become healthy; answers that were not got are empty."""

    job: str
    settled: bool  #: what was submitted was rolled out, or nothing was submitted
    deployment: Answer
    evaluation: Answer
    allocation: Answer  #: the newest
    task: str  #: the task that failed, or the first; "" when there is none
    checks: Sequence[Answer]
    output: Mapping[str, str]  #: stderr and stdout → the last lines


def plan_lines(job: str, plan: Answer) -> list[str]:
    """One line for each field that the plan would change, then what becomes of each group's instances."""
    diff = plan["Diff"]
    lines = [f"Job {job}: {diff['Type']}"]
    if diff["Type"] == "Edited":
        lines += _changes("", diff)
        for group in _changed(diff, "TaskGroups"):
            lines += _changes(f"{group['Name']}.", group)
            for task in _changed(group, "Tasks"):
                lines += _changes(f"{group['Name']}.{task['Name']}.", task)
    updates = (plan.get("Annotations") or {}).get("DesiredTGUpdates") or {}
    for group_name, update in updates.items():
        counts = [f"{kind} {count}" for kind, count in update.items() if isinstance(count, int) and count]
        lines.append(f"{group_name}: {', '.join(counts)}")
    return lines


def _changes(where: str, part: Answer) -> Iterator[str]:
    for field in _changed(part, "Fields"):
        yield f"{where}{field['Name']}: {json.dumps(field['Old'])} -> {json.dumps(field['New'])}"
    for inner in _changed(part, "Objects"):
        yield from _changes(f"{where}{inner['Name']}.", inner)


def _changed(part: Answer, kind: str) -> list[Answer]:
    return [one for one in part.get(kind) or [] if one["Type"] != "None"]


def without_place(plan: Answer) -> list[str]:
    """Why the scheduler would find no place, one line a task group; empty when it finds one for all."""
    lines = []
    for group, why in (plan.get("FailedTGAllocs") or {}).items():
        reasons: dict[str, int] = {}
        for kind in ("ConstraintFiltered", "DimensionExhausted", "ClassFiltered"):
            reasons |= why.get(kind) or {}
        count, looked_at = why["CoalescedFailures"] + 1, why["NodesEvaluated"]
        obstacles = [f"{reason} on {hosts}" for reason, hosts in reasons.items()]
        lines.append(
            ", ".join([f"{group}: {count} without a place; {looked_at} hosts looked at", *obstacles])
        )
    return lines


def failure_lines(failure: JobFailure) -> list[str]:
    """How the deployment ended, what became of the newest allocation, and what it wrote last."""
    lines = [f"{failure['job']} did not become healthy."]
    if not failure["settled"]:
        answers = (failure["deployment"], failure["evaluation"])
        described = [one["StatusDescription"] for one in answers if "StatusDescription" in one]
        lines.append(f"Deployment: {[*described, 'none; Nomad did not answer in time'][0]}")
    if not failure["allocation"]:
        return [*lines, "Nomad made no allocation of it."]
    return [*lines, *_allocation(failure["allocation"], failure["task"]), *_signs(failure)]


def _allocation(allocation: Answer, task: str) -> Iterator[str]:
    state = f"{allocation['ClientStatus']} ({allocation.get('ClientDescription', '')})"
    yield f"Allocation {allocation['ID'][:8]} on {allocation['NodeName']}: {state}"
    events = allocation["TaskStates"][task].get("Events") or [] if task else []
    for event in events[-LAST_EVENTS:]:
        yield f"  {event['Type']}: {event['DisplayMessage']}"


def _signs(failure: JobFailure) -> Iterator[str]:
    for check in failure["checks"]:
        if check["Status"] != "passing":
            yield f"  Check {check['Name']} on {check['Node']}: {check['Output'].strip()}"
    for stream, text in failure["output"].items():
        if text.strip():
            yield f"Last lines of {stream}:"
            yield from (f"  {line}" for line in text.strip().splitlines())
