"""`hearth status` and `hearth logs` on a host of a cluster."""

import asyncio
from dataclasses import asdict
from typing import Any

from rich.text import Text

from clusterkit.config.catalogue import SERVICE_PREFIX
from clusterkit.ports.jobs import JobState
from hearth.cluster import Cluster, ClusterState, Host, open_cluster
from hearth.console import console, table
from hearth.settings import HearthSettings
from hearth.status import health_cell, print_line


async def read_state(settings: HearthSettings) -> ClusterState:
    """The state of the cluster. Raises `HearthError`."""
    async with open_cluster(settings) as cluster:
        return await cluster.state()


def as_data(state: ClusterState) -> dict[str, Any]:
    """The state as plain data."""
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


def print_status(state: ClusterState) -> None:
    """The state as tables."""
    for problem in state.problems:
        console.print(Text(problem, "red"), soft_wrap=True)
    _print_hosts(state)
    services = table("Services", "service", "host", "health", "model", "where")
    for one in state.services:
        model = one.meta.get("model", "-")
        services.add_row(
            one.service, state.host_of(one) or "-", health_cell(one.healthy, one.detail), model, one.url
        )
    console.print(services)
    jobs = table("Jobs", "job", "state", "restarts")
    for job in state.jobs:
        style = {JobState.RUNNING: "green", JobState.BACKING_OFF: "red"}.get(job.state, "dim")
        jobs.add_row(job.name, Text(job.state.value, style), str(job.restarts))
    console.print(jobs)


def _print_hosts(state: ClusterState) -> None:
    hosts = table("Hosts", "host", "address", "role", "health", "work")
    for host in state.hosts:
        hosts.add_row(
            host.name,
            host.address,
            "server" if host.server else "client",
            health_cell(host.healthy, why_unhealthy(host)),
            "being drained" if host.draining else "accepted" if host.eligible else "kept away",
        )
    console.print(hosts)


def why_unhealthy(host: Host) -> str:
    """What is wrong with a host that is not healthy."""
    if not host.alive:
        return "Consul does not hear from it"
    return f"Nomad: {host.nomad or 'does not know it'}"


async def show_logs(settings: HearthSettings, job: str | None, lines: int, follow: bool, raw: bool) -> None:
    """Print what the newest instance of one job or of all wrote. Raises `HearthError`."""
    async with open_cluster(settings) as cluster:
        names = [job] if job else [one.name for one in await cluster.jobs.list()]
        for name in names:
            for line in await cluster.jobs.logs(name, lines=lines):
                print_line(name, line, raw)
        if follow:
            await asyncio.gather(*(_follow(cluster, name, raw) for name in names))


async def _follow(cluster: Cluster, name: str, raw: bool) -> None:
    async for line in cluster.jobs.follow(name):
        print_line(name, line, raw)
