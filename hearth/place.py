"""The port behind the command: where a Hearth runs, this machine or a cluster.

`hearth/one_machine/place.py` and `hearth/cluster/place.py` implement it; no command knows which it has.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from clusterkit.errors import HearthError
from hearth.findings import Finding
from hearth.tables import Report

if TYPE_CHECKING:
    from clusterkit.fetch.part_file import ProgressCallback

Writer = Callable[[str, str], None]  #: shows one line: who wrote it, and the line


class NotRunningError(HearthError):
    """Hearth is not running; start it with `hearth up`."""

    code = "not_running"

    def __init__(self, message: str = "") -> None:
        """Without a `message` the docstring is the message."""
        super().__init__(message or type(self).__doc__)


class OtherPlaceError(HearthError):
    """The command makes no sense in this place; the message says what does the same here."""

    code = "other_place"


@dataclass(frozen=True)
class FrontDoor:
    """A gateway and the key that it asks for."""

    url: str
    key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class PlaceState(Report):
    """What runs and how it is."""

    healthy: bool


@dataclass(frozen=True, kw_only=True)
class ModelChange:
    """What became of a request to change an expert's own models."""

    changed: bool  #: False when everything was so already; then nothing was touched
    summary: str
    next_step: str = ""


class Place(Protocol):
    """Where a Hearth runs. Every method raises `HearthError` when it cannot do what it says."""

    async def up(self, *, detach: bool) -> None:
        """Start everything and show it coming up; without `detach`, stay until interrupted.

        Raises `OtherPlaceError`.
        """
        ...

    async def down(self) -> bool:
        """Stop everything; False when nothing ran. Raises `OtherPlaceError`."""
        ...

    async def state(self) -> PlaceState:
        """What runs and how it is. Raises `NotRunningError`."""
        ...

    async def logs(self, service: str | None, *, lines: int, follow: bool, write: Writer) -> None:
        """Write the last `lines` lines of one service or of all; with `follow`, go on until interrupted.

        Raises `HearthError` naming the services there are when `service` is none of them.
        """
        ...

    async def front_door(self) -> FrontDoor:
        """A gateway to ask. Raises `NotRunningError`, and `HearthError` when there is no gateway."""
        ...

    async def examine(self) -> Sequence[Finding]:
        """Every check's findings. A check that cannot run is itself a finding."""
        ...

    async def models(self) -> Report:
        """Every expert's models, in the order in which they are tried. Raises `OtherPlaceError`."""
        ...

    async def add_model(
        self, source: str, *, expert: str, sha256: str | None, name: str | None, progress: "ProgressCallback"
    ) -> ModelChange:
        """Make the model at `source`, a path or an http(s) address, the first choice of `expert`.

        Raises `OtherPlaceError`.
        """
        ...

    async def get_model(self, name: str, *, progress: "ProgressCallback") -> ModelChange:
        """Bring a model of the catalogue, or a speech model, here. Raises `OtherPlaceError`."""
        ...

    async def remove_model(self, name: str, *, expert: str) -> ModelChange:
        """Take a person's own model off `expert`'s list, or delete the file of a model of the catalogue.

        Raises `OtherPlaceError`.
        """
        ...

    async def load_model(self, expert: str) -> ModelChange:
        """Have the model of `expert` in memory now, or as soon as it fits. Raises `OtherPlaceError`."""
        ...

    async def unload_model(self, expert: str) -> ModelChange:
        """Have the model of `expert` leave memory when nothing runs on it. Raises `OtherPlaceError`."""
        ...
