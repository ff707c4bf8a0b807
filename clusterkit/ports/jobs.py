"""The jobs port: list and logs of long-running programs, and, where they are ours to run, start and stop.

`LocalJobs` (child processes of one machine) does all of it. In a cluster Nomad runs what playbooks submit,
and `NomadJobs` tells of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from clusterkit.errors import HearthError


class JobError(HearthError):
    """A job is unknown, or cannot be started."""

    code = "job_error"


class JobState(StrEnum):
    """What a job is doing."""

    RUNNING = "running"
    BACKING_OFF = "backing off"  #: it ended by itself and will be started again
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """A program to keep running."""

    name: str
    command: tuple[str, ...]  #: program and arguments; never a shell string
    environment: Mapping[str, str] = field(default_factory=dict)  #: the whole environment


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """How a job is."""

    name: str
    state: JobState
    pid: int | None = None
    restarts: int = 0  #: times it was started again after ending by itself
    exit_code: int | None = None  #: of its last end; negative: the signal that ended it


class Jobs(Protocol):
    """Tells of programs that somebody keeps running."""

    async def list(self) -> tuple[JobStatus, ...]:
        """All jobs ever started here, by name."""
        ...

    async def logs(self, name: str, *, lines: int) -> tuple[str, ...]:
        """The last `lines` lines that the job wrote. Raises `JobError`."""
        ...


class JobRunner(Jobs, Protocol):
    """Starts and stops programs and keeps them running in between."""

    async def start(self, spec: JobSpec) -> None:
        """Keep `spec` running; a running job of that name is left as it is. Raises `JobError`."""
        ...

    async def stop(self, name: str) -> None:
        """End a job and everything it started; returns when it is gone. Raises `JobError`."""
        ...
