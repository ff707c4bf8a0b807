"""The place that is a cluster, seen from one of its hosts."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hearth.cluster.checks import examine_cluster
from hearth.cluster.client import Cluster, open_cluster
from hearth.cluster.state import cluster_report
from hearth.findings import Finding
from hearth.place import FrontDoor, ModelChange, OtherPlaceError, PlaceState, Writer
from hearth.settings import HearthSettings
from hearth.tables import Report

if TYPE_CHECKING:
    from clusterkit.fetch.part_file import ProgressCallback

_MODELS = "the experts' models are in group_vars/all/models.yaml, see `hearth status` for the active ones"
_MEMORY = "each expert's job has its model in memory; use: nomad job stop JOB"


class ClusterPlace:
    """`Place` on a host of a cluster: asks this host's own agents of Consul and Nomad."""

    def __init__(self, settings: HearthSettings) -> None:
        """`settings` name the agents. Nothing is contacted yet."""
        self._settings = settings

    async def up(self, *, detach: bool) -> None:
        """See `Place.up`."""
        raise _refusal("up", "use: ansible-playbook playbook.yaml")

    async def down(self) -> bool:
        """See `Place.down`."""
        raise _refusal("down", "use: nomad job stop JOB")

    async def state(self) -> PlaceState:
        """See `Place.state`."""
        async with open_cluster(self._settings) as cluster:
            return cluster_report(await cluster.state())

    async def logs(self, service: str | None, *, lines: int, follow: bool, write: Writer) -> None:
        """See `Place.logs`: what the newest instance of each job wrote."""
        async with open_cluster(self._settings) as cluster:
            names = [service] if service else [job.name for job in await cluster.jobs.list()]
            for name in names:
                for line in await cluster.jobs.logs(name, lines=lines):
                    write(name, line)
            if follow:
                await asyncio.gather(*(_follow(cluster, name, write) for name in names))

    async def front_door(self) -> FrontDoor:
        """See `Place.front_door`: a healthy gateway, another one each time."""
        async with open_cluster(self._settings) as cluster:
            return await cluster.front_door()

    async def examine(self) -> Sequence[Finding]:
        """See `Place.examine`."""
        return await examine_cluster(self._settings)

    async def models(self) -> Report:
        """See `Place.models`."""
        raise _refusal("model list", _MODELS)

    async def add_model(
        self, source: str, *, expert: str, sha256: str | None, name: str | None, progress: "ProgressCallback"
    ) -> ModelChange:
        """See `Place.add_model`."""
        raise _refusal("model add", _MODELS)

    async def get_model(self, name: str, *, progress: "ProgressCallback") -> ModelChange:
        """See `Place.get_model`."""
        raise _refusal("model get", "the playbook brings what `models_wanted` names")

    async def remove_model(self, name: str, *, expert: str) -> ModelChange:
        """See `Place.remove_model`."""
        raise _refusal("model remove", _MODELS)

    async def load_model(self, expert: str) -> ModelChange:
        """See `Place.load_model`."""
        raise _refusal("model load", _MEMORY)

    async def unload_model(self, expert: str) -> ModelChange:
        """See `Place.unload_model`."""
        raise _refusal("model unload", _MEMORY)


def _refusal(command: str, instead: str) -> OtherPlaceError:
    return OtherPlaceError(
        f"this host belongs to a cluster, where Nomad runs the services: `hearth {command}` is for one "
        f"machine; {instead}"
    )


async def _follow(cluster: Cluster, name: str, write: Writer) -> None:
    async for line in cluster.jobs.follow(name):
        write(name, line)
