"""`hearth doctor` on a host of a cluster: its agents, the other hosts, the services, an answer."""

import asyncio
from collections.abc import Iterable

from clusterkit.cluster.agent_http import TokenFile
from clusterkit.errors import HearthError
from clusterkit.ports.jobs import JobState
from hearth.cluster.client import open_cluster
from hearth.cluster.state import ClusterState, why_unhealthy
from hearth.findings import Finding, Verdict, broken, good
from hearth.questions import check_answers
from hearth.settings import HearthSettings


async def examine_cluster(settings: HearthSettings) -> list[Finding]:
    """Every check's findings. A check that cannot run is itself a finding."""
    findings = await asyncio.to_thread(_all_credentials, settings)
    try:
        async with open_cluster(settings) as cluster:
            state = await cluster.state()
            findings += [*_whole(state), *_hosts(state), *_jobs(state), *_services(state)]
            findings += [finding async for finding in check_answers(cluster.front_door)]
    except HearthError as error:
        findings.append(broken("cluster", str(error), "sudo systemctl status consul nomad"))
    return findings


def _all_credentials(settings: HearthSettings) -> list[Finding]:
    return list(_credentials(settings))


def _credentials(settings: HearthSettings) -> Iterable[Finding]:
    for part, path in (
        ("Consul token", settings.consul_token_file),
        ("Nomad token", settings.nomad_token_file),
        ("gateway key", settings.gateway_key_file),
    ):
        if path is None:
            continue
        try:
            TokenFile(path).read()
        except HearthError as error:
            yield broken(part, str(error), f"join the group that owns {path.parent}, or use sudo")
        else:
            yield good(part, f"{path} can be read")


def _whole(state: ClusterState) -> Iterable[Finding]:
    for problem in state.problems:
        yield broken("cluster", problem, "are most of the servers up? see `hearth status`")
    if not state.problems:
        yield good("cluster", "Consul and Nomad have their leaders")


def _hosts(state: ClusterState) -> Iterable[Finding]:
    for host in state.hosts:
        if not host.healthy:
            remedy = "sudo systemctl status consul nomad, on that host"
            yield broken(f"host {host.name}", why_unhealthy(host), remedy)
        elif host.eligible:
            yield good(f"host {host.name}", "works")
        else:
            detail = "gets no new work" + (": it is being drained" if host.draining else "")
            remedy = f"nomad node eligibility -enable {host.name}, when that is not meant to be"
            yield Finding(f"host {host.name}", Verdict.DOUBTFUL, detail, remedy)


def _jobs(state: ClusterState) -> Iterable[Finding]:
    if not state.jobs:
        yield broken("jobs", "there are none", "ansible-playbook playbook.yaml")
    for job in state.jobs:
        if job.state is JobState.RUNNING:
            yield good(f"job {job.name}", f"runs, {job.restarts} restarts")
        elif job.state is JobState.BACKING_OFF:
            yield broken(
                f"job {job.name}", f"does not run, {job.restarts} restarts", f"hearth logs {job.name}"
            )


def _services(state: ClusterState) -> Iterable[Finding]:
    for one in state.services:
        where = f"{one.service} on {state.host_of(one) or one.address}"
        if one.healthy:
            yield good(where, f"healthy at {one.url}")
        else:
            yield broken(where, one.detail, f"hearth logs {one.service}")
