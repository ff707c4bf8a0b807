"""The calls to Nomad that Hearth makes, typed."""

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

from clusterkit.cluster.agent_http import (
    AgentAccess,
    AgentHttp,
    NotFoundError,
    Reading,
    Wait,
)
from clusterkit.cluster.nomad_records import (
    Allocation,
    ClientNode,
    Deployment,
    Evaluation,
    JobSummary,
    Plan,
    Registration,
    Variable,
    allocation,
    client_node,
    deployment,
    evaluation,
    job_summary,
    plan,
    registration,
    variable,
)

Job = Mapping[str, Any]  #: a job as Nomad's API writes it

PARSE_SECONDS = 30.0  #: what the server gets to read a job file and to plan


class Nomad:
    """A Nomad agent. Use as an async context manager; every method raises `AgentError`.

    Lists are stale reads: any server answers, also without a leader, and the `Reading` tells how old
    that may be.
    """

    def __init__(self, access: AgentAccess) -> None:
        """Nothing is contacted yet."""
        self.http = AgentHttp("Nomad", access)

    async def __aenter__(self) -> Self:
        """Open the client."""
        await self.http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.http.__aexit__(kind, error, trace)

    # --- hosts --------------------------------------------------------------------------------------
    async def leader(self) -> str:
        """The address of the servers' leader. Raises `NoLeaderError` when there is none."""
        return str((await self.http.call("GET", "/v1/status/leader")).read(str).value)

    async def nodes(self, *, wait: Wait | None = None) -> Reading[tuple[ClientNode, ...]]:
        """Every host that runs or ran allocations, by name."""
        reply = await self.http.read("/v1/nodes", wait)
        return reply.read(lambda rows: tuple(sorted(map(client_node, rows), key=lambda node: node.name)))

    async def drain(self, node_id: str, *, deadline: float, ignore_system_jobs: bool = False) -> None:
        """Move everything off a host within `deadline` seconds, and keep new work away."""
        spec = {"Deadline": round(deadline * 1e9), "IgnoreSystemJobs": ignore_system_jobs}
        await self._tell_node(node_id, "drain", {"DrainSpec": spec, "MarkEligible": False})

    async def stop_draining(self, node_id: str, *, eligible: bool) -> None:
        """End a drain; with `eligible` the host takes work again."""
        await self._tell_node(node_id, "drain", {"DrainSpec": None, "MarkEligible": eligible})

    async def set_eligible(self, node_id: str, eligible: bool) -> None:
        """Let a host take new work, or keep it away; what runs stays."""
        word = "eligible" if eligible else "ineligible"
        await self._tell_node(node_id, "eligibility", {"Eligibility": word})

    async def _tell_node(self, node_id: str, what: str, body: Mapping[str, Any]) -> None:
        await self.http.call("POST", f"/v1/node/{_part(node_id)}/{what}", body={"NodeID": node_id, **body})

    # --- jobs ---------------------------------------------------------------------------------------
    async def jobs(self, *, wait: Wait | None = None) -> Reading[tuple[JobSummary, ...]]:
        """Every job, by id."""
        reply = await self.http.read("/v1/jobs", wait)
        return reply.read(lambda rows: tuple(sorted(map(job_summary, rows), key=lambda job: job.id)))

    async def job(self, job_id: str) -> Job:
        """A job as it was registered. Raises `NotFoundError`."""
        reply = await self.http.call("GET", f"/v1/job/{_part(job_id)}")
        return reply.read(dict[str, Any]).value

    async def parse_job(self, source: str) -> Job:
        """A job file (HCL) as Nomad's API writes it. Raises `RejectedError` naming the line."""
        body = {"JobHCL": source, "Canonicalize": True}
        reply = await self.http.call("POST", "/v1/jobs/parse", body=body, deadline=PARSE_SECONDS)
        return reply.read(dict[str, Any]).value

    async def plan_job(self, job: Job) -> Plan:
        """What registering `job` would do; nothing happens."""
        path = f"/v1/job/{_part(str(job['ID']))}/plan"
        reply = await self.http.call("POST", path, body={"Job": job, "Diff": True}, deadline=PARSE_SECONDS)
        return reply.read(plan).value

    async def register_job(self, job: Job, *, only_at: int | None = None) -> Registration:
        """Run `job`.

        With `only_at` (0: only when there is no such job) Nomad refuses when another was quicker.
        """
        body: dict[str, Any] = {"Job": job}
        if only_at is not None:
            body |= {"EnforceIndex": True, "JobModifyIndex": only_at}
        reply = await self.http.call("POST", "/v1/jobs", body=body, deadline=PARSE_SECONDS)
        return reply.read(registration).value

    async def reschedule_job(self, job_id: str) -> None:
        """Have the scheduler look again at allocations that it had given up."""
        body = {"JobID": job_id, "EvalOptions": {"ForceReschedule": True}}
        await self.http.call("POST", f"/v1/job/{_part(job_id)}/evaluate", body=body)

    async def stop_job(self, job_id: str, *, purge: bool = False) -> None:
        """Stop a job; with `purge` also forget it. An unknown one is ignored."""
        asked = {"purge": "true" if purge else "false"}
        await self.http.call("DELETE", f"/v1/job/{_part(job_id)}", params=asked)

    async def scale(self, job_id: str, group: str, count: int) -> None:
        """Run `count` instances of a job's group. Raises `NotFoundError`."""
        body = {"Count": count, "Target": {"Group": group}}
        await self.http.call("POST", f"/v1/job/{_part(job_id)}/scale", body=body)

    # --- roll-outs ----------------------------------------------------------------------------------
    async def evaluation(self, evaluation_id: str) -> Evaluation:
        """What the scheduler makes of a change. Raises `NotFoundError`."""
        return (await self.http.call("GET", f"/v1/evaluation/{_part(evaluation_id)}")).read(evaluation).value

    async def deployment(self, deployment_id: str) -> Deployment:
        """One roll-out. Raises `NotFoundError`."""
        return (await self.http.call("GET", f"/v1/deployment/{_part(deployment_id)}")).read(deployment).value

    # --- allocations --------------------------------------------------------------------------------
    async def allocations(
        self, job_id: str, *, wait: Wait | None = None, stale: bool = True
    ) -> Reading[tuple[Allocation, ...]]:
        """Every allocation of a job that Nomad still knows, the newest last."""
        path = f"/v1/job/{_part(job_id)}/allocations"
        return (await self.http.read(path, wait, stale=stale, all="true")).read(_allocations)

    async def deployment_allocations(self, deployment_id: str) -> tuple[Allocation, ...]:
        """The allocations of one roll-out, the newest last."""
        reply = await self.http.call("GET", f"/v1/deployment/allocations/{_part(deployment_id)}")
        return reply.read(_allocations).value

    async def restart_allocation(self, allocation_id: str) -> None:
        """End an allocation's tasks and start them again on the same host."""
        path = f"/v1/client/allocation/{_part(allocation_id)}/restart"
        await self.http.call("POST", path, body={"AllTasks": True})

    async def logs(
        self, allocation_id: str, task: str, kind: Literal["stdout", "stderr"], *, last_bytes: int
    ) -> bytes:
        """The end of what a task wrote; nothing when it has not written yet."""
        asked: dict[str, str | int] = {"task": task, "type": kind, "plain": "true", "origin": "end"}
        path = f"/v1/client/fs/logs/{_part(allocation_id)}"
        try:
            reply = await self.http.call("GET", path, params={**asked, "offset": last_bytes})
        except NotFoundError:
            return b""
        return reply.body

    def follow_log(self, allocation_id: str, task: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The lines that a task writes to stderr from now on."""
        asked: dict[str, str | int] = {
            "task": task,
            "type": "stderr",
            "plain": "true",
            "origin": "end",
            "offset": 0,
            "follow": "true",
        }
        path = f"/v1/client/fs/logs/{_part(allocation_id)}"
        return self.http.lines(path, params=asked, silence=math.inf)

    # --- variables ----------------------------------------------------------------------------------
    async def variable(self, path: str) -> Variable | None:
        """A variable, or None."""
        try:
            reply = await self.http.call("GET", f"/v1/var/{_path(path)}")
        except NotFoundError:
            return None
        return reply.read(variable).value

    async def put_variable(self, path: str, items: Mapping[str, str], *, only_at: int | None = None) -> None:
        """Set a variable.

        With `only_at` (0: only when there is no such variable) Nomad refuses when another was quicker.
        """
        params = {} if only_at is None else {"cas": only_at}
        body = {"Path": path, "Items": dict(items)}
        await self.http.call("PUT", f"/v1/var/{_path(path)}", params=params, body=body)


def _allocations(rows: Any) -> tuple[Allocation, ...]:
    return tuple(sorted(map(allocation, rows), key=lambda one: one.create_index))


def _part(text: str) -> str:
    return quote(text, safe="")


def _path(text: str) -> str:
    return quote(text, safe="/")
