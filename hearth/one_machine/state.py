"""How the Hearth of this machine is: its processes and what they have announced."""

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Literal

from clusterkit.ports.jobs import JobState, JobStatus
from clusterkit.ports.registry import Instance
from hearth.one_machine.services import SERVICES
from hearth.place import PlaceState
from hearth.tables import Cell, Table, Tone, health_cell

MEGABYTE = 10**6


@dataclass(frozen=True)
class GrowthState:
    """How far a better model is that is being fetched.

    Sizes are in bytes; `seconds_left` is an estimate, None when there is none yet.
    """

    state: Literal["off", "idle", "fetching", "asking", "failed"] = "idle"
    model: str = ""
    done: int = 0
    total: int = 0
    seconds_left: float | None = None
    detail: str = ""  #: what a person can do, or why it failed


@dataclass(frozen=True, kw_only=True)
class MachineState:
    """Everything there is to know about a running Hearth."""

    jobs: tuple[JobStatus, ...]
    instances: dict[str, tuple[Instance, ...]]  #: what each deployable has announced
    growth: GrowthState = GrowthState("off")

    @property
    def healthy(self) -> bool:
        """Whether every service runs, has announced itself, and is healthy."""
        return (
            set(SERVICES) <= {job.name for job in self.jobs}
            and all(job.state is JobState.RUNNING for job in self.jobs)
            and all(self.is_up(service) for service in SERVICES)
        )

    def of(self, service: str) -> tuple[Instance, ...]:
        """What a deployable has announced."""
        return self.instances.get(service, ())

    def is_up(self, service: str) -> bool:
        """Whether a deployable has announced itself and all that it announced is healthy."""
        announced = self.of(service)
        return bool(announced) and all(instance.healthy for instance in announced)

    @property
    def details(self) -> tuple[str, ...]:
        """What the services themselves say is wrong, as SERVICE: DETAIL."""
        every = (instance for announced in self.instances.values() for instance in announced)
        return tuple(f"{one.service}: {one.detail}" for one in every if one.detail)


def machine_report(state: MachineState) -> PlaceState:
    """A state, ready to be shown."""
    data = {
        "healthy": state.healthy,
        "services": _services(state),
        "experts": _experts(state),
        "growth": asdict(state.growth),
    }
    tables = (*_tables(data), *_growth_tables(state.growth))
    return PlaceState(healthy=state.healthy, data=data, tables=tables)


def _services(state: MachineState) -> list[dict[str, Any]]:
    return [
        {
            "name": job.name,
            "state": job.state.value,
            "pid": job.pid,
            "restarts": job.restarts,
            "healthy": state.is_up(job.name),
            "detail": "; ".join(sorted({one.detail for one in state.of(job.name) if one.detail})),
            "urls": sorted({f"http://{one.address}:{one.port}" for one in state.of(job.name)}),
        }
        for job in state.jobs
    ]


def _experts(state: MachineState) -> dict[str, dict[str, Any]]:
    return {
        one.service: {"healthy": one.healthy, "model": one.meta.get("model", ""), "detail": one.detail}
        for one in state.of("llama_expert")
    }


def _tables(data: dict[str, Any]) -> list[Table]:
    services = [
        (
            row["name"],
            row["state"],
            health_cell(row["healthy"], row["detail"]),
            str(row["pid"] or "-"),
            str(row["restarts"]),
            "\n".join(row["urls"]) or "-",
        )
        for row in data["services"]
    ]
    headings = ("service", "state", "health", "pid", "restarts", "where")
    tables = [Table("Services", headings, services, prose=frozenset({"health"}))]
    if data["experts"]:
        experts = [
            (name, _expert_health(row["healthy"], row["detail"]), row["model"] or "-")
            for name, row in data["experts"].items()
        ]
        prose = frozenset({"health", "model"})
        tables.append(Table("Experts", ("expert", "health", "model"), experts, prose=prose))
    return tables


def _expert_health(healthy: bool, detail: str) -> Cell:
    """An expert answers, and there may yet be something to know: why a better model is not used, say."""
    noted = healthy and detail
    return Cell(f"healthy; {detail}", Tone.DOUBTFUL) if noted else health_cell(healthy, detail)


def _growth_tables(growth: GrowthState) -> list[Table]:
    """What is on its way, or waits for a person."""
    if growth.state in ("off", "idle"):
        return []
    left = "" if growth.seconds_left is None else str(timedelta(seconds=round(growth.seconds_left)))
    came = f"{growth.done / MEGABYTE:.0f} of {growth.total / MEGABYTE:.0f} MB" if growth.total else ""
    shown = growth.detail or came
    tone = Tone.PLAIN if growth.state == "fetching" else Tone.DOUBTFUL
    row = (growth.model, Cell(growth.state, tone), shown, left or "-")
    headings = ("better model", "state", "how far", "time left")
    return [Table("Growth", headings, [row], prose=frozenset({"how far"}))]
