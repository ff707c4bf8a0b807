"""What happens in a run, told to whoever listens while it happens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipecatapp.workflow.journal import NodeStatus, RunStatus


@dataclass(frozen=True)
class RunStarted:
    """The run begins."""

    run_id: str
    workflow: str


@dataclass(frozen=True)
class NodeStarted:
    """A try at a node begins."""

    path: str
    type: str
    attempt: int


@dataclass(frozen=True)
class NodeFinished:
    """A try at a node ended; another may follow when it failed and the node has a `retry`."""

    path: str
    type: str
    status: NodeStatus
    seconds: float
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class NodeSkipped:
    """A node will not run."""

    path: str
    type: str


@dataclass(frozen=True)
class ToolCalled:
    """A tool call ended."""

    path: str
    tool: str
    succeeded: bool


@dataclass(frozen=True)
class Chunk:
    """The output node at `path` says some more."""

    path: str
    text: str


@dataclass(frozen=True)
class Restarted:
    """What the output node at `path` said so far no longer counts; it begins again."""

    path: str


@dataclass(frozen=True)
class RunFinished:
    """The run is over."""

    run_id: str
    status: RunStatus
    seconds: float


NodeEvent = NodeStarted | NodeFinished | NodeSkipped | ToolCalled
RunEvent = RunStarted | NodeEvent | Chunk | Restarted | RunFinished

#: Called in the middle of the run, so it must neither block nor raise: put the event into a queue.
Listener = Callable[[RunEvent], None]


def ignore(event: RunEvent) -> None:
    """The listener for whoever wants only the result."""


class Speech:
    """What output nodes have said so far; keeps it in step with what they say in the end."""

    def __init__(self, listener: Listener) -> None:
        """Everything is passed to `listener`."""
        self._listener = listener
        self._text: dict[str, str] = {}

    def begin(self, path: str) -> None:
        """A new text begins; one that was begun before is taken back."""
        if self._text.pop(path, ""):
            self._listener(Restarted(path))

    def add(self, path: str, text: str) -> None:
        """Say some more."""
        if text:
            self._text[path] = self._text.get(path, "") + text
            self._listener(Chunk(path, text))

    def finish(self, path: str, text: str) -> None:
        """Say what is missing of the final `text`."""
        if not text.startswith(self._text.get(path, "")):
            self.begin(path)
        self.add(path, text[len(self._text.get(path, "")) :])
