"""How a cluster is: its hosts, its services, its jobs."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from clusterkit.cluster.consul import Member
from clusterkit.cluster.nomad_records import ClientNode
from clusterkit.config.catalogue import SERVICE_PREFIX
from clusterkit.ports.jobs import JobState, JobStatus
from clusterkit.ports.registry import Instance
from hearth.place import PlaceState
from hearth.tables import Cell, Table, Tone, health_cell


@dataclass(frozen=True, kw_only=True)
class Host:
    """One host as Consul's gossip and Nomad's servers see it."""

    name: str
    address: str
    alive: bool  #: by gossip
    server: bool  #: holds the cluster's state
    nomad: str  #: Nomad's word for it: ready, down, …; '' when Nomad does not know it
    eligible: bool
    draining: bool

    @property
    def healthy(self) -> bool:
        """Whether it works; one that is kept free of work on purpose does."""
        return self.alive and self.nomad == "ready"


@dataclass(frozen=True, kw_only=True)
class ClusterState:
    """Everything there is to know about a cluster."""

    hosts: tuple[Host, ...]
    services: tuple[Instance, ...]
    jobs: tuple[JobStatus, ...]
    problems: tuple[str, ...]  #: what could not be found out, or is wrong with the cluster as a whole

    @property
    def healthy(self) -> bool:
        """Whether hosts, jobs and services all are; jobs that somebody stopped do not count."""
        wanted = [job for job in self.jobs if job.state is not JobState.STOPPED]
        return (
            not self.problems
            and all(host.healthy for host in self.hosts)
            and bool(wanted)
            and all(job.state is JobState.RUNNING for job in wanted)
            and bool(self.services)
            and all(instance.healthy for instance in self.services)
        )

    def host_of(self, instance: Instance) -> str:
        """The name of the host that an instance runs on, or ''."""
        return next((host.name for host in self.hosts if host.address == instance.address), "")


def hosts_of(members: Iterable[Member], nodes: Iterable[ClientNode]) -> Iterable[Host]:
    """The hosts of a cluster, as gossip and Nomad's servers tell of them together."""
    # Nomad keeps rows of hosts that were wiped and came back: the latest word on a name counts.
    rows = {node.name: node for node in sorted(nodes, key=lambda node: node.ready)}
    for member in members:
        node = rows.pop(member.name, None)
        yield Host(
            name=member.name,
            address=member.address,
            alive=member.alive,
            server=member.server,
            nomad=node.status if node else "",
            eligible=node is not None and node.eligible,
            draining=node is not None and node.draining,
        )
    for node in rows.values():
        yield Host(
            name=node.name,
            address=node.address,
            alive=False,
            server=False,
            nomad=node.status,
            eligible=node.eligible,
            draining=node.draining,
        )


def cluster_report(state: ClusterState) -> PlaceState:
    """A state, ready to be shown."""
    return PlaceState(
        healthy=state.healthy,
        problems=state.problems,
        data=_data(state),
        tables=(_hosts_table(state), _services_table(state), _jobs_table(state)),
    )


def _data(state: ClusterState) -> dict[str, Any]:
    return {
        "healthy": state.healthy,
        "problems": list(state.problems),
        "hosts": [{**asdict(host), "healthy": host.healthy} for host in state.hosts],
        "services": [
            {
                "name": one.service,
                "host": state.host_of(one),
                "url": one.url,
                "healthy": one.healthy,
                "detail": one.detail,
                "model": one.meta.get("model", ""),
            }
            for one in state.services
        ],
        "experts": {
            one.service: {"healthy": one.healthy, "model": one.meta.get("model", ""), "detail": one.detail}
            # A healthy instance speaks for its expert when there are several.
            for one in sorted(state.services, key=lambda one: one.healthy)
            if one.service.startswith(SERVICE_PREFIX)
        },
        "jobs": [
            {
                "name": job.name,
                "state": job.state.value,
                "restarts": job.restarts,
                "exit_code": job.exit_code,
            }
            for job in state.jobs
        ],
    }


def _services_table(state: ClusterState) -> Table:
    rows = [
        (
            one.service,
            state.host_of(one) or "-",
            health_cell(one.healthy, one.detail),
            one.meta.get("model", "-"),
            one.url,
        )
        for one in state.services
    ]
    headings = ("service", "host", "health", "model", "where")
    return Table("Services", headings, rows, prose=frozenset({"health", "model"}))


def _jobs_table(state: ClusterState) -> Table:
    tones = {JobState.RUNNING: Tone.GOOD, JobState.BACKING_OFF: Tone.BAD}
    rows = [
        (job.name, Cell(job.state.value, tones.get(job.state, Tone.FAINT)), str(job.restarts))
        for job in state.jobs
    ]
    return Table("Jobs", ("job", "state", "restarts"), rows)


def _hosts_table(state: ClusterState) -> Table:
    rows = [
        (
            host.name,
            host.address,
            "server" if host.server else "client",
            health_cell(host.healthy, why_unhealthy(host)),
            "being drained" if host.draining else "accepted" if host.eligible else "kept away",
        )
        for host in state.hosts
    ]
    headings = ("host", "address", "role", "health", "work")
    return Table("Hosts", headings, rows, prose=frozenset({"health", "work"}))


def why_unhealthy(host: Host) -> str:
    """What is wrong with a host that is not healthy."""
    if not host.alive:
        return "Consul does not hear from it"
    return f"Nomad: {host.nomad or 'does not know it'}"
