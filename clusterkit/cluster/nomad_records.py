"""What Nomad says, as records; fields that nobody here reads are left out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TERMINAL = frozenset(["complete", "failed", "lost"])  #: states from which an allocation never returns


@dataclass(frozen=True, kw_only=True)
class ClientNode:
    """A host that runs allocations."""

    id: str
    name: str
    address: str
    status: str  #: initializing, ready, disconnected or down
    eligible: bool
    draining: bool
    version: str

    @property
    def ready(self) -> bool:
        """Whether it works; new allocations may be kept away from it all the same."""
        return self.status == "ready"


@dataclass(frozen=True, kw_only=True)
class JobSummary:
    """A job as the list of jobs has it."""

    id: str
    type: str
    status: str  #: pending, running or dead
    stopped: bool  #: somebody asked for that
    parent: str = ""


@dataclass(frozen=True, kw_only=True)
class TaskEvent:
    """Something that happened to a task."""

    type: str
    message: str
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TaskState:
    """How one task of an allocation is."""

    state: str  #: pending, running or dead
    failed: bool
    restarts: int
    events: tuple[TaskEvent, ...] = ()

    @property
    def exit_code(self) -> int | None:
        """Of its last end; negative: the signal that ended it."""
        for event in reversed(self.events):
            if event.type == "Terminated":
                signal = int(event.details.get("signal", "0"))
                return -signal if signal else int(event.details.get("exit_code", "0"))
        return None


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """One placement of a job's group on a host."""

    id: str
    job: str
    group: str
    node: str
    node_name: str
    client_status: str  #: pending, running, unknown, or one of `TERMINAL`
    desired_status: str  #: run, stop or evict
    job_version: int
    create_index: int
    tasks: Mapping[str, TaskState] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether it will never run again."""
        return self.client_status in TERMINAL


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What registering a job would do."""

    changes: bool
    job_modify_index: int  #: to hand to `register_job`, so that what was planned is what happens
    warnings: str = ""
    unplaceable: Mapping[str, str] = field(default_factory=dict)  #: group → why it fits nowhere
    diff: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A roll-out of a job version."""

    id: str
    status: str  #: running, successful, failed, cancelled, …
    description: str
    job_version: int


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A Nomad variable. Its items may be secret: they appear in no representation."""

    path: str
    items: Mapping[str, str] = field(repr=False)
    modify_index: int


def client_node(row: Mapping[str, Any]) -> ClientNode:
    """From a row of `/v1/nodes`."""
    return ClientNode(
        id=row["ID"],
        name=row["Name"],
        address=row["Address"],
        status=row["Status"],
        eligible=row["SchedulingEligibility"] == "eligible",
        draining=row["Drain"],
        version=row["Version"],
    )


def job_summary(row: Mapping[str, Any]) -> JobSummary:
    """From a row of `/v1/jobs`."""
    return JobSummary(
        id=row["ID"], type=row["Type"], status=row["Status"], stopped=row["Stop"], parent=row["ParentID"]
    )


def allocation(row: Mapping[str, Any]) -> Allocation:
    """From a row of a list of allocations."""
    return Allocation(
        id=row["ID"],
        job=row["JobID"],
        group=row["TaskGroup"],
        node=row["NodeID"],
        node_name=row["NodeName"],
        client_status=row["ClientStatus"],
        desired_status=row["DesiredStatus"],
        job_version=row["JobVersion"],
        create_index=row["CreateIndex"],
        tasks={name: _task_state(state) for name, state in (row["TaskStates"] or {}).items()},
    )


def _task_state(row: Mapping[str, Any]) -> TaskState:
    events = tuple(
        TaskEvent(type=event["Type"], message=event["DisplayMessage"], details=event["Details"] or {})
        for event in row["Events"] or ()
    )
    return TaskState(state=row["State"], failed=row["Failed"], restarts=row["Restarts"], events=events)


def plan(row: Mapping[str, Any]) -> Plan:
    """From the answer of `/v1/job/ID/plan`."""
    failed: Mapping[str, Any] = row["FailedTGAllocs"] or {}
    diff = row["Diff"] or {}
    return Plan(
        changes=diff.get("Type", "None") != "None",
        job_modify_index=row["JobModifyIndex"],
        warnings=row["Warnings"],
        unplaceable={group: _why(metrics) for group, metrics in failed.items()},
        diff=diff,
    )


def _why(metrics: Mapping[str, Any]) -> str:
    reasons = {**(metrics.get("ConstraintFiltered") or {}), **(metrics.get("DimensionExhausted") or {})}
    refusals = ", ".join(f"{reason} on {hosts} hosts" for reason, hosts in reasons.items())
    return refusals or f"{metrics.get('NodesEvaluated', 0)} hosts looked at"


def deployment(row: Mapping[str, Any]) -> Deployment:
    """From `/v1/job/ID/deployment`."""
    return Deployment(
        id=row["ID"],
        status=row["Status"],
        description=row["StatusDescription"],
        job_version=row["JobVersion"],
    )


def variable(row: Mapping[str, Any]) -> Variable:
    """From `/v1/var/PATH`."""
    return Variable(path=row["Path"], items=row["Items"], modify_index=row["ModifyIndex"])
