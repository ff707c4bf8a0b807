"""A cluster without Hearth's services, and a job of which every host runs one."""

import json
from collections.abc import Mapping
from typing import Any

from tests.lab.lab import Lab
from tests.lab.playbook_run import PlaybookRun
from tests.lab.site import Site

FOLDER = "ansible/playbooks"
SECOND = 1_000_000_000
WORK = "work"
#: Answers over HTTP, as nobody, wherever Nomad puts it.
JOB: dict[str, Any] = {
    "ID": WORK,
    "Datacenters": ["*"],
    "TaskGroups": [
        {
            "Name": "web",
            "Count": 3,
            "Networks": [{"DynamicPorts": [{"Label": "http"}]}],
            "Services": [
                {
                    "Name": WORK,
                    "PortLabel": "http",
                    "Checks": [{"Type": "http", "Path": "/", "Interval": 3 * SECOND, "Timeout": 2 * SECOND}],
                }
            ],
            "Tasks": [
                {
                    "Name": "web",
                    "Driver": "raw_exec",
                    "User": "nobody",
                    "Config": {
                        "command": "/usr/bin/python3",
                        "args": ["-m", "http.server", "${NOMAD_PORT_http}"],
                    },
                    "Resources": {"CPU": 20, "MemoryMB": 32},
                }
            ],
        }
    ],
}


def form(lab: Lab) -> Site:
    """Turn the lab's hosts into a cluster and give it work."""
    lab.ansible("playbook.yaml", "--tags", "infrastructure").expect_success()
    site = Site(lab)
    put_to_work(site)
    return site


def put_to_work(site: Site) -> None:
    """Submit the job and wait until all of it answers."""
    site.nomad("/v1/jobs", method="PUT", body={"Job": JOB}).json()
    site.wait(lambda: len(site.passing(WORK)) == 3, 120, "three healthy instances")


def play(site: Site, name: str, extra: Mapping[str, Any] | None = None, *arguments: str) -> PlaybookRun:
    """Run one of the cluster's playbooks."""
    return site.lab.ansible(f"{FOLDER}/{name}.yaml", *arguments, extra=extra)


def running(site: Site) -> dict[str, str]:
    """The allocations of the job that run, with the moment in which each one's task started."""
    return {a["ID"]: a["TaskStates"]["web"]["StartedAt"] for a in site.allocations(WORK)}


def keep(site: Site, name: str, value: str) -> None:
    """Keep a value in Consul and another one in Nomad."""
    site.consul(f"/v1/kv/hearth/{name}", method="PUT", body=value).json()
    site.nomad(f"/v1/var/{name}", method="PUT", body={"Items": {"value": value}}).json()


def kept(site: Site, name: str) -> tuple[str | None, str | None]:
    """What Consul and Nomad kept under a name."""
    in_consul = site.consul(f"/v1/kv/hearth/{name}?raw")
    in_nomad = site.nomad(f"/v1/var/{name}")
    return (
        in_consul.text if in_consul.status == 200 else None,
        json.loads(in_nomad.text)["Items"]["value"] if in_nomad.status == 200 else None,
    )


def healthy(site: Site, servers: int) -> bool:
    """Whether Consul and Nomad have so many servers and all are healthy."""
    answers = [ask("/v1/operator/autopilot/health") for ask in (site.consul, site.nomad)]
    return all(a.status == 200 and len(a.json()["Servers"]) == servers for a in answers)
