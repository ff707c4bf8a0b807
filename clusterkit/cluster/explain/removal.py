"""What it means for a cluster that a host leaves."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

PRESENT = ("running", "pending")  #: states of an allocation that the host still has
EVERYWHERE = ("system", "sysbatch")  #: types of jobs that run on every host


class Servers(TypedDict):
    """The servers of Consul or of Nomad, by the names of their hosts."""

    servers: Sequence[str]
    healthy: Sequence[str]
    leader: str


class Leaving(TypedDict):
    """The host that leaves, as remove_host.yaml sees it."""

    host: str  #: in the inventory
    name: str  #: in the cluster
    known: bool  #: anybody in the cluster knows it
    listed: bool  #: it is in the inventory
    server: bool
    alive: bool  #: it can be told, and its agents answer
    reached: bool  #: over ssh
    seen_alive: bool  #: by other hosts
    quorum: Mapping[str, Servers]  #: Consul and Nomad
    allocations: Sequence[Mapping[str, Any]]  #: as Nomad's API writes them
    ready: Sequence[str]  #: nodes that take work
    controllers_left: int
    controller: bool


def removal_lines(leaving: Leaving) -> list[str]:
    """What the host is, what becomes of the majorities, and where its work goes."""
    if not leaving["known"]:
        return [f"{leaving['host']} is not in the cluster (any more): there is nothing to remove."]
    kind = "a controller" if leaving["server"] else "a worker"
    present = [one for one in leaving["allocations"] if one["ClientStatus"] in PRESENT]
    work = [_work(one, leaving) for one in sorted(present, key=lambda one: str(one["JobID"]))]
    return [
        f"{leaving['host']}: {kind}, {_state(leaving)}.",
        *(line for name, servers in leaving["quorum"].items() for line in _quorum(name, servers, leaving)),
        *(work or ["Work: nothing runs there."]),
    ]


def _state(leaving: Leaving) -> str:
    if leaving["alive"]:
        return "alive"
    if leaving["reached"]:
        return "reachable, but its agents are down"
    seen = ", though others see it alive" if leaving["seen_alive"] else ": taken for dead"
    return f"not reachable{seen}"


def _quorum(program: str, now: Servers, leaving: Leaving) -> Iterator[str]:
    name, count = leaving["name"], len(now["servers"])
    if name not in now["servers"]:
        return
    healthy_after = len(set(now["healthy"]) - {name})
    needed_after = (count - 1) // 2 + 1
    yield (
        f"{program}: {count} servers now, {len(now['healthy'])} healthy, {count // 2 + 1} needed; afterwards "
        f"{count - 1} servers, {healthy_after} healthy, {needed_after} needed."
    )
    if now["leader"] == name:
        yield f"{program}: {leaving['host']} leads; another server takes over first."
    if count > 1 and healthy_after == needed_after:
        yield f"{program}: after that no server may fail, or nothing can be changed until it is back."


def _work(allocation: Mapping[str, Any], leaving: Leaving) -> str:
    what = f"Work: {allocation['JobID']} ({allocation['TaskGroup']})"
    if allocation["Job"]["Type"] in EVERYWHERE:
        return f"{what} ends here; it runs on every host."
    others = sorted(set(leaving["ready"]) - {leaving["name"]})
    return f"{what} moves to {' or '.join(others) or 'no host, for none is ready: it stops'}."


def farewell_lines(leaving: Leaving) -> list[str]:
    """What is left for a person to do when the host has left."""
    host, left = leaving["host"], leaving["controllers_left"]
    lines = [f"{host} {'has left' if leaving['known'] else 'is not in'} the cluster. To do now, by you:"]
    if leaving["listed"]:
        kept = "; the host keeps no key of the site, and may be switched off" if leaving["reached"] else ""
        lines.append(f"- Delete {host} from inventory.yaml{kept}.")
    if leaving["known"] and not leaving["alive"]:
        lines += [
            "- It could not be told. Should its disk fall into other hands: rotate_secrets.yaml "
            "-e rotate=gossip.",
            "  Never start it again with the old disk before it is out of the inventory.",
        ]
    if leaving["controller"] and left % 2 == 0:
        lines += [
            f"- {left} controllers stay. An even number survives no more failures than one fewer: add one",
            "  with add_host.yaml (playbook.yaml refuses an even number).",
        ]
    return lines
