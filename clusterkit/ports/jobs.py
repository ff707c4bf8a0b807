"""The jobs port: start, stop, list, logs of long-running programs.

`LocalJobs` (child processes of one machine) and, in a cluster, a Nomad-backed one implement it.
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
    """Starts and stops programs and keeps them running in between."""

    async def start(self, spec: JobSpec) -> None:
        """Keep `spec` running; a running job of that name is left as it is. Raises `JobError`."""
        ...

    async def stop(self, name: str) -> None:
        """End a job and everything it started; returns when it is gone. Raises `JobError`."""
        ...

    async def list(self) -> tuple[JobStatus, ...]:
        """All jobs ever started here, by name."""
        ...

    async def logs(self, name: str, *, lines: int) -> tuple[str, ...]:
        """The last `lines` lines that the job wrote. Raises `JobError`."""
        ...
