"""What is wrong with an inventory. Looks at no fact: no host has been reached yet."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

from clusterkit.cluster.preflight.names import SiteVariables
from clusterkit.cluster.preflight.versions import older
from clusterkit.config.suggest import closest

INSTALL_METHODS = ("apt", "release", "file", "go")
SERVICE_DRIVERS = ("raw_exec", "docker")
HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
MAC_ADDRESS = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
#: Variables of Ansible and of Molecule, and those that a role has for itself (two underscores).
FOREIGN = re.compile(
    r"^__|^(ansible|molecule|discovered|inventory|role|play|playbook)_"
    r"|^(group_names|groups|hostvars|omit|environment|vars|lab)$"
)


class HostEntry(TypedDict):
    """One host: the names of all its variables, and the values of those that are judged."""

    names: Sequence[str]
    values: Mapping[str, Any]


class Inventory(TypedDict):
    """The inventory as the role `preflight_checks` sends it (inventory.json.j2)."""

    ansible: str
    controllers: Sequence[str]
    workers: Sequence[str]
    controller_counts: Sequence[int]
    minimum_versions: Mapping[str, str]
    own_variables: Sequence[str]
    hosts: Mapping[str, HostEntry]


def inventory_problems(inventory: Inventory, names: SiteVariables) -> list[str]:
    """One sentence for everything that cannot work; empty for a sound inventory."""
    return [
        *_groups(inventory),
        *_unknown_names(inventory, names),
        *_shared_addresses(inventory["hosts"]),
        *(
            f"{host}: {problem}"
            for host, entry in inventory["hosts"].items()
            for problem in _values(entry["values"], inventory["minimum_versions"])
        ),
    ]


def _groups(inventory: Inventory) -> Iterator[str]:
    least, controllers = inventory["minimum_versions"]["ansible"], inventory["controllers"]
    if older(inventory["ansible"], least):
        yield f"ansible-core is {inventory['ansible']}, {least} or newer is needed"
    counts = [int(count) for count in inventory["controller_counts"]]
    if not inventory["hosts"]:
        yield "no hosts: write them into the groups controllers and workers of inventory.yaml"
    elif len(controllers) not in counts:
        yield (
            f"{len(controllers)} hosts in the group controllers: it takes {_either(counts)}; an even number "
            "survives no more failures than one fewer, and none cannot decide anything"
        )
    for host in sorted(set(controllers) & set(inventory["workers"])):
        yield f"{host}: in both groups; a controller runs services too, so leave it out of workers"
    for host in inventory["hosts"]:
        if not HOST_NAME.fullmatch(host):
            yield f"{host}: not a host name; take letters a to z, digits and hyphens"


def _either(counts: Sequence[int]) -> str:
    *rest, last = map(str, counts)
    return f"{', '.join(rest)} or {last}" if rest else last


def _unknown_names(inventory: Inventory, names: SiteVariables) -> Iterator[str]:
    allowed = names.settable | names.read | set(inventory["own_variables"])
    unknown: dict[str, list[str]] = {}
    for host, entry in inventory["hosts"].items():
        for name in entry["names"]:
            if name not in allowed and not FOREIGN.search(name):
                unknown.setdefault(name, []).append(host)
    for name, hosts in sorted(unknown.items()):
        close = closest(name, sorted(names.settable))
        guess = f"; did you mean {close}?" if close else ""
        yield f"{name} (set for {', '.join(hosts)}): nothing reads a variable of this name{guess}"


def _shared_addresses(hosts: Mapping[str, HostEntry]) -> Iterator[str]:
    addresses: dict[str, str] = {}
    macs: dict[str, str] = {}
    for host, entry in hosts.items():
        address, mac = str(entry["values"]["ansible_host"]), _mac(entry["values"])
        if address in addresses and address not in ("localhost", "127.0.0.1"):
            yield f"{host}: has the address {address} of {addresses[address]}"
        if MAC_ADDRESS.fullmatch(mac) and mac in macs:
            yield f"{host}: has the MAC address {mac} of {macs[mac]}"
        addresses[address] = macs[mac] = host


def _mac(values: Mapping[str, Any]) -> str:
    return str(values["host_mac_address"]).lower()


def _values(values: Mapping[str, Any], minimum: Mapping[str, str]) -> Iterator[str]:
    mac = _mac(values)
    if mac and not MAC_ADDRESS.fullmatch(mac):
        yield f"host_mac_address is {values['host_mac_address']}; write it like 3c:ec:ef:00:12:ab, in quotes"
    elif not mac and values["host_power_managed"] and values["host_measured"]:
        yield "host_power_managed needs a host_mac_address, by which the host is woken"
    for program in ("consul", "nomad"):
        version, method = str(values[f"{program}_version"]), values[f"{program}_install_method"]
        if version and older(version, minimum[program]):
            yield f"{program}_version is {version}, {minimum[program]} or newer is needed"
        if method not in INSTALL_METHODS:
            yield f"{program}_install_method is {method}; there are {', '.join(INSTALL_METHODS)}"
    if values["service_driver"] not in SERVICE_DRIVERS:
        yield f"service_driver is {values['service_driver']}; there are {', '.join(SERVICE_DRIVERS)}"
    experts = values["expert_models"]
    for expert in sorted(set(values["experts_deployed"]) - set(experts)):
        yield f"experts_deployed names {expert}; models.yaml has {', '.join(experts)}"
