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
    create_index: int
    description: str = ""  #: of the client status, in words
    tasks: Mapping[str, TaskState] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether it will never run again."""
        return self.client_status in TERMINAL


@dataclass(frozen=True, kw_only=True)
class Unplaced:
    """Instances of a group for which the scheduler finds no host."""

    count: int
    hosts_looked_at: int
    obstacles: Mapping[str, int] = field(default_factory=dict)  #: what is in the way → on how many hosts


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What registering a job would do."""

    changes: bool
    job_modify_index: int  #: to hand to `register_job`, so that what was planned is what happens
    diff: Mapping[str, Any] = field(default_factory=dict, repr=False)  #: as Nomad's API writes it
    updates: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  #: group → kind → instances
    unplaced: Mapping[str, Unplaced] = field(default_factory=dict)  #: by group; empty: all find a host


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What became of handing in a job."""

    job_modify_index: int
    evaluation: str  #: id of what the scheduler makes of it


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What the scheduler makes of a change."""

    id: str
    status: str  #: pending, blocked, complete, failed or canceled
    description: str
    deployment: str  #: id of the roll-out that it started; "" when no allocation changes


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A roll-out of a job version."""

    id: str
    status: str  #: running, successful, failed, cancelled, …
    description: str


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
        create_index=row["CreateIndex"],
        description=row["ClientDescription"],
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
    unplaced: Mapping[str, Any] = row["FailedTGAllocs"] or {}
    updates: Mapping[str, Any] = (row["Annotations"] or {}).get("DesiredTGUpdates") or {}
    return Plan(
        changes=row["Diff"]["Type"] != "None",
        job_modify_index=row["JobModifyIndex"],
        diff=row["Diff"],
        updates=updates,
        unplaced={group: _unplaced(metrics) for group, metrics in unplaced.items()},
    )


def _unplaced(metrics: Mapping[str, Any]) -> Unplaced:
    kinds = ("ConstraintFiltered", "DimensionExhausted", "ClassFiltered")
    return Unplaced(
        count=metrics["CoalescedFailures"] + 1,
        hosts_looked_at=metrics["NodesEvaluated"],
        obstacles={reason: hosts for kind in kinds for reason, hosts in (metrics[kind] or {}).items()},
    )


def registration(row: Mapping[str, Any]) -> Registration:
    """From the answer of `POST /v1/jobs`."""
    return Registration(job_modify_index=row["JobModifyIndex"], evaluation=row["EvalID"])


def evaluation(row: Mapping[str, Any]) -> Evaluation:
    """From `/v1/evaluation/ID`, which leaves out what is empty."""
    return Evaluation(
        id=row["ID"],
        status=row["Status"],
        description=row.get("StatusDescription", ""),
        deployment=row.get("DeploymentID", ""),
    )


def deployment(row: Mapping[str, Any]) -> Deployment:
    """From `/v1/deployment/ID`."""
    return Deployment(id=row["ID"], status=row["Status"], description=row["StatusDescription"])


def variable(row: Mapping[str, Any]) -> Variable:
    """From `/v1/var/PATH`."""
    return Variable(path=row["Path"], items=row["Items"], modify_index=row["ModifyIndex"])
