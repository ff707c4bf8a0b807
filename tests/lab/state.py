"""A picture of a cluster: what must be the same before a fault and after its healing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Words of Nomad's for an allocation that may still become, or no longer be, a running one.
ALIVE = ("pending", "running", "unknown")


@dataclass(frozen=True)
class State:
    """Members of gossip, voters, Nomad's clients, and per job: version, running and healthy instances.

    `moving` counts what a job still has on its way: two pictures are the same only when nothing is.
    """

    members: Mapping[str, str] = field(default_factory=dict)
    peers: frozenset[str] = frozenset()
    nodes: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    running: Mapping[str, int] = field(default_factory=dict)
    passing: Mapping[str, int] = field(default_factory=dict)
    moving: Mapping[str, int] = field(default_factory=dict)

    def differences(self, now: "State") -> list[str]:
        """What is not as it was, in words."""
        found = []
        for part in ("members", "peers", "nodes", "versions", "running", "passing", "moving"):
            before, after = getattr(self, part), getattr(now, part)
            if before != after and not (part == "versions" and not before):
                found.append(f"{part}: {_plain(before)} became {_plain(after)}")
        return found


def _plain(part: Any) -> Any:
    return sorted(part) if isinstance(part, frozenset) else dict(part)


def runs(allocation: Mapping[str, Any]) -> bool:
    """Whether an allocation runs and is to run."""
    return bool(allocation["ClientStatus"] == "running" and allocation["DesiredStatus"] == "run")


def moving(job: Mapping[str, Any], allocations: Iterable[Mapping[str, Any]]) -> int:
    """How many of a job's allocations are missing, starting, lost from sight or being stopped."""
    alive = [one for one in allocations if one["ClientStatus"] in ALIVE]
    running = sum(map(runs, alive))
    # Only of a service is known how many should run: system jobs follow the hosts, batch jobs end.
    wanted: int = sum(group["Count"] for group in job["TaskGroups"]) if job["Type"] == "service" else running
    return abs(wanted - running) + len(alive) - running
