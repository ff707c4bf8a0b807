"""What is wrong with a host: what is there, and what is needed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from clusterkit.cluster.preflight.versions import older

MESSAGE_LENGTH = 160  #: of an error of the network, characters that are passed on


@dataclass(frozen=True)
class CheckedFolder:
    """The folder that exists nearest to a `wanted` one, with what its file system has free."""

    path: str
    mount: str
    free_mb: int
    wanted: str
    needed_mb: int


def folders_above(paths: Sequence[str]) -> list[str]:
    """Every folder of `paths` with all above it, the deepest first, each once."""
    chains = [[path, *path.parents] for path in map(PurePosixPath, paths)]
    return list(dict.fromkeys(str(folder) for chain in chains for folder in chain))


def host_problems(host: Mapping[str, Any]) -> list[str]:
    """One sentence for everything that is wrong with the host of host.json.j2 (`preflight_checks`)."""
    return [*_system(host), *_folders(host), *_ports(host), *_network(host), *_twins(host)]


def _system(host: Mapping[str, Any]) -> Iterator[str]:
    facts, least = host["facts"], host["minimum_versions"]
    if facts["distribution"] != "Debian" or older(facts["distribution_version"], least["debian"]):
        runs = f"{facts['distribution']} {facts['distribution_version']}"
        yield f"runs {runs}; Debian {least['debian']} or newer is needed"
    if older(facts["python_version"], least["python"]):
        yield f"has Python {facts['python_version']}; {least['python']} or newer is needed"
    if facts["service_mgr"] != "systemd":
        yield f"{facts['service_mgr']} runs as its first process; systemd is needed"
    if int(facts["memtotal_mb"]) < int(host["memory_mb"]):
        yield f"has {facts['memtotal_mb']} MB of main memory; {host['memory_mb']} MB are needed"
    own, controllers = map(int, host["clocks"].split())
    if abs(own - controllers) > int(host["clock_offset_s"]):
        offset, allowed = own - controllers, host["clock_offset_s"]
        yield f"its clock is {offset} s off the controller's; {allowed} s are allowed"


def nearest(folders: Sequence[Mapping[str, Any]], free_space: Sequence[str]) -> list[CheckedFolder]:
    """For each of `folders` the nearest that exists, by what `df` printed (free MB, mount, folder a line)."""
    rows = [line.split(maxsplit=2) for line in free_space]
    there = {path: (mount, int(free)) for free, mount, path in rows}
    places = []
    for folder in folders:
        path = next(one for one in folders_above([folder["path"]]) if one in there)
        mount, free = there[path]
        places.append(CheckedFolder(path, mount, free, folder["path"], int(folder["free_mb"])))
    return places


def _folders(host: Mapping[str, Any]) -> Iterator[str]:
    places = nearest(host["folders"], host["free_space"])
    for place in places:
        if place.free_mb < place.needed_mb:
            yield (
                f"{place.wanted} has {place.free_mb} MB free (on {place.mount}); "
                f"{place.needed_mb} MB are needed"
            )
    for path in dict.fromkeys(place.path for place in places):
        if path in host["not_writable"]:
            wanted = ", ".join(place.wanted for place in places if place.path == path)
            yield f"{path} cannot be written (its file system is read-only); it must be, for {wanted}"


def _ports(host: Mapping[str, Any]) -> Iterator[str]:
    for wanted in host["ports"]:
        for listener in host["listeners"]:
            ours = listener["name"] in wanted["programs"] or listener["user"] in host["service_users"]
            if int(listener["port"]) == int(wanted["port"]) and not ours:
                yield (
                    f"port {wanted['port']} ({wanted['name']}) is taken by {listener['name']} (process "
                    f"{listener['pid']}, user {listener['user']}); stop it or choose another port"
                )
    (first, last), (lowest, highest) = (
        map(int, host["outgoing_ports"].split()),
        map(int, host["dynamic_ports"]),
    )
    if first <= highest and last >= lowest:
        yield (
            f"outgoing connections take ports {first} to {last}, which meet nomad_dynamic_port_min to "
            f"nomad_dynamic_port_max ({lowest} to {highest}); change either"
        )


def _network(host: Mapping[str, Any]) -> Iterator[str]:
    if not host["address"] or not host["interface"]:
        yield (
            "has no default route for IPv4, which would tell its address and its card; "
            "write host_address and host_interface into its host_vars"
        )
    network = host["network"]
    if not network["air_gapped"] and int(network["status"]) < 1:
        why = " ".join(str(network["message"]).split())
        short = why if len(why) <= MESSAGE_LENGTH else f"{why[: MESSAGE_LENGTH - 3]}..."
        yield (
            f"{network['url']} does not answer ({short}); "
            "without a way out set preflight_checks_air_gapped: true"
        )


def _twins(host: Mapping[str, Any]) -> Iterator[str]:
    facts = host["facts"]
    for other, others in sorted(host["others"].items()):
        if others["machine_id"] and others["machine_id"] == facts["machine_id"]:
            yield (
                f"has the machine id of {other} ({facts['machine_id']}); copies of one disk do: remove "
                "/etc/machine-id and run systemd-machine-id-setup on one of them"
            )
        if others["hostname"] and others["hostname"] == facts["hostname"]:
            yield f"is called {facts['hostname']}, like {other}; give one of them another host name"
        if others["address"] and others["address"] == facts["address"]:
            yield f"has the address {facts['address']} of {other}"
