"""What Consul Connect costs: the same programs on the same two hosts, through their sidecars and past them.

The ways take turns, so that whatever else the machine does burdens both alike.
"""

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

from tests.lab.engine import LabError, pause
from tests.lab.envoy import envoy_variables
from tests.lab.host import dump
from tests.lab.lab import Lab
from tests.lab.playbook_run import ROOT
from tests.lab.site import Site
from tests.subjects import connect_subject

CONNECTIONS = (1, 16)
ROUNDS = 5
SECONDS = 4.0
HEALTHY_SECONDS = 180
TRAFFIC = Path(__file__).with_name("connect_traffic.py")
ON_HOST = "/usr/local/lib/connect_traffic.py"
RESULTS = ROOT / "docs" / "results" / "connect.json"
SERVER, CLIENT = "bench-server", "bench-client"


def main() -> None:
    """Print the figures and keep them."""
    with Lab("bench-connect", hosts=2, controllers=1, variables=envoy_variables()) as lab:
        for host in lab.machines.values():
            # A container's settings of the kernel's network are read-only until told otherwise.
            host.exec(["mount", "-o", "remount,bind,rw", "/proc/sys"])
        lab.ansible("playbook.yaml", "--tags", "infrastructure").expect_success()
        site = Site(lab)
        _start(site)
        results = {"figures": _measure(site), "subject": connect_subject(ROOT)}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(dump(results))


def _start(site: Site) -> None:
    """Run the server on one host and the client on the other, and let the client in."""
    for host in site.lab.machines.values():
        host.write(ON_HOST, TRAFFIC.read_text())
    sources = [{"Name": CLIENT, "Action": "allow"}]
    intention = {"Kind": "service-intentions", "Name": SERVER, "Sources": sources}
    site.consul("/v1/config", method="PUT", body=intention).json()
    local, first = site.variables["connect_service_port"], site.variables["connect_upstream_port"]
    client, server = site.lab.machines
    upstream = {"DestinationName": SERVER, "LocalBindPort": first}
    _submit(site, SERVER, server, ["serve", str(local)], {})
    _submit(site, CLIENT, client, ["serve", str(local)], {"Upstreams": [upstream]})
    for _ in range(HEALTHY_SECONDS):
        if all(site.passing(f"{name}-sidecar-proxy") for name in (SERVER, CLIENT)):
            return
        pause(1)
    raise LabError(f"the sidecars of {SERVER} and {CLIENT} were not healthy within {HEALTHY_SECONDS} s")


def _submit(site: Site, name: str, host: str, arguments: list[str], proxy: dict[str, Any]) -> None:
    told = site.variables
    local = told["connect_service_port"]
    sidecar = {
        "Driver": "raw_exec",
        "User": told["connect_user"]["name"],
        "Config": {"command": f"/opt/hearth/programs/envoy-sidecar-{told['envoy_version']}"},
    }
    ways = {"LocalServicePort": local, **proxy}
    task = {
        "Name": "program",
        "Driver": "raw_exec",
        "User": "nobody",
        "Config": {"command": "/usr/bin/python3", "args": [ON_HOST, *arguments]},
    }
    service = {
        "Name": name,
        "PortLabel": "http",
        "Connect": {"SidecarService": {"Proxy": ways}, "SidecarTask": sidecar},
        "Checks": [{"Type": "http", "Path": "/", "Interval": 2_000_000_000, "Timeout": 2_000_000_000}],
    }
    group = {
        "Name": "one",
        "Networks": [{"Mode": "bridge", "DynamicPorts": [{"Label": "http", "To": local}]}],
        "Services": [service],
        "Tasks": [task],
    }
    there = {"LTarget": "${node.unique.name}", "RTarget": host, "Operand": "="}
    job = {"ID": name, "Datacenters": ["*"], "Constraints": [there], "TaskGroups": [group]}
    site.nomad("/v1/jobs", method="POST", body={"Job": job}).json()


def _measure(site: Site) -> list[dict[str, Any]]:
    (server,) = site.passing(SERVER)
    ways = {
        "direct": (server.address, server.port),
        "sidecars": ("127.0.0.1", int(site.variables["connect_upstream_port"])),
    }
    rows: list[dict[str, Any]] = []
    for connections in CONNECTIONS:
        seen: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, (address, port) in ways.items():
                seen[way].append(_load(site, address, port, connections))
        for way, rounds in seen.items():
            middle = {key: round(median(one[key] for one in rounds), 2) for key in rounds[0]}
            rows.append({"way": way, "connections": connections, **middle})
        direct, through = rows[-2:]
        share = through["requests_per_s"] / direct["requests_per_s"]
        longer = through["p50_ms"] - direct["p50_ms"]
        sys.stdout.write(f"{connections} connections: {direct} | {through}\n")
        sys.stdout.write(f"    sidecars: {share:.2f} of the requests, {longer:+.2f} ms (median)\n")
    return rows


def _load(site: Site, address: str, port: int, connections: int) -> dict[str, float]:
    """One round, asked from the client's own network."""
    host = site.lab.host(next(iter(site.lab.machines)))
    (program,) = host.pids(f"^/usr/bin/python3 {ON_HOST} serve")
    command = ["/usr/bin/python3", ON_HOST, "load", address, str(port), str(connections), str(SECONDS)]
    done = host.exec(["nsenter", "--target", str(program), "--net", *command], timeout=SECONDS + 60)
    seen: dict[str, float] = json.loads(done.stdout)
    return seen


if __name__ == "__main__":
    main()
