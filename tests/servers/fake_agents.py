"""As much of Consul's and Nomad's HTTP API as the command reads, in memory, on one port.

The rows are those that Consul 1.22 and Nomad 1.10 answer with, less what nobody here reads.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers.threaded_server import serving_in_thread

HOST = "here"
ADDRESS = "127.0.0.1"


@dataclass
class FakeAgents:
    """One host that runs services as Nomad jobs, and what its agents would say of it."""

    url: str = ""
    services: dict[str, dict[str, Any]] = field(default_factory=dict)  #: by name, as health has them
    logs: dict[str, str] = field(default_factory=dict)  #: by job: what it wrote to stderr

    def serve(self, name: str, port: int, *, tags: tuple[str, ...], healthy: bool, notes: str) -> None:
        """Register a service with one check."""
        host_check = {**_check("serfHealth", "Serf Health Status", "", "passing"), "Notes": ""}
        status = "passing" if healthy else "critical"
        own = _check(f"check:{name}", f"Service '{name}' check", name, status)
        service = {
            "ID": name,
            "Service": name,
            "Address": ADDRESS,
            "Port": port,
            "Tags": ["hearth", *tags],
            "Meta": {},
            "EnableTagOverride": False,
        }
        self.services[name] = {
            "Node": {"Node": HOST, "Address": ADDRESS},
            "Service": service,
            "Checks": [host_check, {**own, "Notes": notes}],
        }

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        """What the agents say at `path`: JSON, or the bytes of a log."""
        if logs := re.fullmatch(r"/v1/client/fs/logs/allocation-of-([\w-]+)", path):
            wanted = query["type"] == ["stderr"]
            return 200, self.logs.get(logs[1], "").encode() if wanted else b""
        if allocations := re.fullmatch(r"/v1/job/([\w-]+)/allocations", path):
            return 200, [_allocation(allocations[1])]
        if job := re.fullmatch(r"/v1/job/([\w-]+)", path):
            return (200, _job(job[1])) if job[1] in self.logs else (404, "job not found")
        if service := re.fullmatch(r"/v1/health/service/([\w-]+)", path):
            return 200, [self.services[service[1]]] if service[1] in self.services else []
        whole: dict[str, Any] = {
            "/v1/status/leader": f"{ADDRESS}:8300",
            "/v1/agent/members": [{"Name": HOST, "Addr": ADDRESS, "Status": 1, "Tags": {"role": "consul"}}],
            "/v1/nodes": [_NODE],
            "/v1/jobs": [_job(name) for name in sorted(self.logs)],
            "/v1/catalog/services": {
                "consul": [],
                **{name: row["Service"]["Tags"] for name, row in self.services.items()},
            },
        }
        return (200, whole[path]) if path in whole else (501, f"{path}: not faked")


_NODE = {
    "ID": "5f0c1a52-6a3e-5a3c-8f5c-0f1d2c3b4a59",
    "Name": HOST,
    "Address": ADDRESS,
    "Status": "ready",
    "SchedulingEligibility": "eligible",
    "Drain": False,
}


def _check(check: str, name: str, service: str, status: str) -> dict[str, Any]:
    return {
        "CheckID": check,
        "Name": name,
        "Node": HOST,
        "Status": status,
        "Output": "" if service else "Agent alive and reachable",
        "ServiceID": service,
        "ServiceName": service,
    }


def _job(name: str) -> dict[str, Any]:
    return {"ID": name, "Type": "service", "Status": "running", "Stop": False, "ParentID": ""}


def _allocation(job: str) -> dict[str, Any]:
    return {
        "ID": f"allocation-of-{job}",
        "JobID": job,
        "TaskGroup": job,
        "NodeID": _NODE["ID"],
        "NodeName": HOST,
        "ClientStatus": "running",
        "ClientDescription": "Tasks are running",
        "CreateIndex": 7,
        "TaskStates": {job: {"State": "running", "Failed": False, "Restarts": 0, "Events": []}},
    }


@contextmanager
def fake_agents() -> Iterator[FakeAgents]:
    """A running fake, whose `url` stands for both agents' addresses."""
    state = FakeAgents()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            status, answer = state.answer(url.path, parse_qs(url.query))
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in (("x-consul-index", "7"), ("x-nomad-index", "7")):
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with serving_in_thread(Handler) as state.url:
        yield state
