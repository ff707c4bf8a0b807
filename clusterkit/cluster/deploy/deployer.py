"""Acts on one job through the host's agents."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from clusterkit.clock import Clock
from clusterkit.cluster.agent_http import AgentError, NoLeaderError, NotFoundError, UnreachableError
from clusterkit.cluster.consul import Consul, ServiceCheck
from clusterkit.cluster.deploy.decide import (
    ENDED,
    Rollout,
    differing_items,
    is_healthy,
    lives,
    must_be_submitted,
    suspect,
)
from clusterkit.cluster.deploy.explanation import JobFailure, failure_lines, plan_lines, without_place
from clusterkit.cluster.deploy.request import DeploymentError, DeploymentRequest
from clusterkit.cluster.nomad import Job, Nomad
from clusterkit.cluster.nomad_records import Allocation, Plan, Variable

#: What is being stopped holds its ports and its memory so long (`shutdown_delay` and `kill_timeout` of jobs).
STOPPING_SECONDS = 40.0

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class _Intent:
    """A job beside what the cluster has of it."""

    job: Job
    plan: Plan
    submit: bool
    held: Variable | None
    secrets: list[str]  #: names of those to be written


class Deployer:
    """Plans, submits and verifies one job. Its methods raise `DeploymentError` and `AgentError`."""

    def __init__(self, request: DeploymentRequest, nomad: Nomad, consul: Consul, clock: Clock) -> None:
        """Both clients are open; nothing is asked yet."""
        self._request, self._nomad, self._consul, self._clock = request, nomad, consul, clock
        self.changed = False  #: whether something was changed, or would be after `plan`
        self.lines: list[str] = []  #: what that is, for a person

    async def plan(self) -> None:
        """Find out what `apply` would change; only reads."""
        intent = await self._look()
        self.changed = intent.submit or bool(intent.secrets)
        if intent.submit:
            self.lines += [f"No place: {line}" for line in without_place(intent.plan)]

    async def apply(self) -> None:
        """Bring the job, where it differs or is dead, and wait until it is healthy."""
        intent = await self._look()
        if intent.submit and intent.plan.unplaced:
            await self._wait_for_room(intent)
        if intent.secrets:
            await self._bring_secrets(intent)
        evaluation = await self._submit(intent) if intent.submit else None
        if self._request.wait:
            await self.verify(await self._follow(evaluation) if evaluation is not None else None)

    async def verify(self, rollout: Rollout | None = None) -> None:
        """Wait until the service is healthy; without `rollout` nothing was submitted before."""
        if (rollout is None or rollout.succeeded) and await self._becomes_healthy():
            return
        raise DeploymentError("\n".join(failure_lines(await self._failure(rollout))))

    async def _look(self) -> _Intent:
        request, nomad = self._request, self._nomad
        job, plan = await self._read_file()
        try:
            registered = await nomad.job(request.job)
        except NotFoundError:
            registered = None
        # Without any wanted nobody reads what is held.
        held = await nomad.variable(self._secrets_path) if request.secrets else None
        secrets = differing_items(held.items if held is not None else {}, request.secrets)
        intent = _Intent(
            job=job, plan=plan, submit=must_be_submitted(plan, registered), held=held, secrets=secrets
        )
        if intent.submit:
            self.lines += plan_lines(request.job, plan)
        if secrets:
            self.lines.append(f"Secrets of {request.job} that change: {', '.join(secrets)}")
        return intent

    async def _read_file(self) -> tuple[Job, Plan]:
        request = self._request
        try:
            job = await self._nomad.parse_job(request.hcl)
            if job["ID"] != request.job:
                raise DeploymentError(f"{request.source}: the job is called {job['ID']}, not {request.job}")
            return job, await self._nomad.plan_job(job)  # which validates it first
        except AgentError as error:
            raise DeploymentError(f"{request.source}: {error}") from error

    async def _wait_for_room(self, intent: _Intent) -> None:
        seconds = min(STOPPING_SECONDS, self._request.timeout_s)
        plan = await self._eventually(
            lambda: self._nomad.plan_job(intent.job), lambda found: not found.unplaced, seconds
        )
        if why := "; ".join(without_place(plan or intent.plan)):
            raise DeploymentError(f"{self._request.job} fits no host, nothing was submitted. {why}")

    async def _bring_secrets(self, intent: _Intent) -> None:
        before = lives(await self._allocations())
        index = intent.held.modify_index if intent.held is not None else 0
        await self._nomad.put_variable(self._secrets_path, self._request.secrets, only_at=index)
        self.changed = True
        if intent.submit:
            return
        # Nomad notices by itself and starts the tasks anew. Until then they work with what they read before,
        # and are healthy.
        now = await self._eventually(self._allocations, lambda found: not lives(found) & before)
        if now is None or lives(now) & before:
            waited = f"within {self._request.timeout_s:g} s of getting other secrets"
            raise DeploymentError(f"{self._request.job}: Nomad did not start its tasks anew {waited}")

    async def _submit(self, intent: _Intent) -> str:
        index = intent.plan.job_modify_index
        registration = await self._nomad.register_job(intent.job, only_at=index)
        self.changed = True
        if not intent.plan.changes:  # a dead job that did not change is not looked at again by itself
            await self._nomad.reschedule_job(self._request.job)
        return registration.evaluation

    async def _follow(self, evaluation_id: str) -> Rollout:
        evaluation = await self._eventually(
            lambda: self._nomad.evaluation(evaluation_id), lambda found: found.status != "pending"
        )
        if evaluation is None or not evaluation.deployment:
            return Rollout(evaluation=evaluation)
        deployment_id = evaluation.deployment
        deployment = await self._eventually(
            lambda: self._nomad.deployment(deployment_id), lambda found: found.status in ENDED
        )
        return Rollout(evaluation=evaluation, deployment=deployment)

    async def _becomes_healthy(self) -> bool:
        name = self._request.service
        if not name:
            return True
        reading = await self._eventually(
            lambda: self._consul.service(name, stale=False), lambda found: is_healthy(found.value)
        )
        return reading is not None and is_healthy(reading.value)

    async def _eventually(
        self,
        read: Callable[[], Awaitable[Value]],
        done: Callable[[Value], bool],
        seconds: float | None = None,
    ) -> Value | None:
        """The first answer that is done, else the last one in time; None when there was none."""
        latest = None
        end = self._clock.monotonic() + (seconds or self._request.timeout_s)
        while True:
            try:
                latest = await read()
            except (UnreachableError, NoLeaderError):
                pass  # an agent or a leader that comes back is no reason to give up
            else:
                if done(latest):
                    return latest
            if self._clock.monotonic() + self._request.poll_s > end:
                return latest
            await self._clock.sleep(self._request.poll_s)

    async def _failure(self, rollout: Rollout | None) -> JobFailure:
        request = self._request
        if rollout is not None and rollout.evaluation is not None and rollout.evaluation.deployment:
            # Of what failed, not of what an automatic revert brought back.
            allocations = await self._nomad.deployment_allocations(rollout.evaluation.deployment)
        else:
            allocations = await self._allocations()
        newest = allocations[-1] if allocations else None
        return JobFailure(
            job=request.job,
            rollout=rollout,
            allocation=newest,
            checks=await self._checks(),
            output=await self._last_output(newest) if newest is not None else {},
        )

    async def _checks(self) -> tuple[ServiceCheck, ...]:
        name = self._request.service
        try:
            instances = (await self._consul.service(name, stale=False)).value if name else ()
        except AgentError:
            return ()  # what else there is to see is worth more than this complaint
        return tuple(check for one in instances for check in one.checks if check.service == name)

    async def _last_output(self, allocation: Allocation) -> Mapping[str, str]:
        written: dict[str, str] = {}
        task = suspect(allocation)
        kinds: tuple[Literal["stderr", "stdout"], ...] = ("stderr", "stdout") if task else ()
        for kind in kinds:
            try:
                output = await self._nomad.logs(allocation.id, task, kind, last_bytes=self._request.log_bytes)
            except AgentError:
                continue  # its host may be gone, which the allocation's status says
            written[kind] = output.decode("utf-8", "replace")
        return written

    async def _allocations(self) -> tuple[Allocation, ...]:
        return (await self._nomad.allocations(self._request.job, stale=False)).value

    @property
    def _secrets_path(self) -> str:
        return f"nomad/jobs/{self._request.job}"
