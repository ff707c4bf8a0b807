"""As much of Nomad's and Consul's HTTP API as the job roles ask for, in memory, on one port.

Jobs are healthy as soon as they are submitted. It remembers who was submitted, which is what the tests count.
"""

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Answer = tuple[int, Any]
NOT_FOUND: Answer = (404, "not found")


@dataclass
class FakeCluster:
    """The state, and what was asked of it."""

    url: str = ""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)  #: by id: the definition as submitted
    dead: set[str] = field(default_factory=set)
    critical: set[str] = field(default_factory=set)  #: services that are registered, but not healthy
    recovering: Counter[str] = field(
        default_factory=Counter
    )  #: by service: critical for so many questions more
    asked: Counter[str] = field(default_factory=Counter)  #: by service: questions for its health
    variables: dict[str, dict[str, str]] = field(default_factory=dict)  #: by path
    restarts: Counter[str] = field(default_factory=Counter)  #: by id: of its task, for new variables
    submitted: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str, body: Any) -> Answer:
        """The answer to one request."""
        for pattern, handle in (
            (r"POST /v1/jobs/parse", self._parse),
            (r"POST /v1/job/([\w-]+)/plan", self._plan),
            (r"POST /v1/job/([\w-]+)/evaluate", self._evaluate),
            (r"GET /v1/job/([\w-]+)", self._job),
            (r"GET /v1/job/([\w-]+)/allocations", self._allocations),
            (r"DELETE /v1/job/([\w-]+)", self._stop),
            (r"POST /v1/jobs", self._submit),
            (r"GET /v1/evaluation/(.+)", self._evaluation),
            (r"GET /v1/var/(.+)", self._variable),
            (r"PUT /v1/var/(.+)", self._set_variable),
            (r"GET /v1/health/service/([\w-]+)(\?passing)?", self._health),
        ):
            if found := re.fullmatch(pattern, f"{method} {path}"):
                return handle(body, *found.groups())
        return 501, f"{method} {path}: not faked"

    def _parse(self, body: Any) -> Answer:
        text = re.sub(r"#.*", "", body["JobHCL"])
        name = re.search(r'job "([\w-]+)"', text)
        assert name is not None
        return 200, {"ID": name[1], "Text": text}

    def _plan(self, body: Any, name: str) -> Answer:
        held = self.jobs.get(name)
        kind = "Added" if held is None else "None" if held == body["Job"] else "Edited"
        index = 0 if held is None else 7
        return 200, {
            "Diff": {"Type": kind},
            "JobModifyIndex": index,
            "FailedTGAllocs": None,
            "Annotations": None,
        }

    def _job(self, _: Any, name: str) -> Answer:
        if name not in self.jobs:
            return NOT_FOUND
        return 200, {"ID": name, "Status": "dead" if name in self.dead else "running"}

    def _allocations(self, _: Any, name: str) -> Answer:
        if name not in self.jobs:
            return 200, []
        status = "failed" if name in self.dead else "running"
        tasks = {name: {"Restarts": self.restarts[name]}}
        return 200, [{"ID": f"first-{name}", "ClientStatus": status, "TaskStates": tasks}]

    def _submit(self, body: Any) -> Answer:
        name = body["Job"]["ID"]
        self.jobs[name] = body["Job"]
        self.dead.discard(name)
        self.submitted.append(name)
        return 200, {"EvalID": f"of-{name}", "JobModifyIndex": 8}

    def _stop(self, _: Any, name: str) -> Answer:
        self.stopped.append(name)
        return 200, {}

    def _evaluate(self, _: Any, name: str) -> Answer:
        return 200, {"EvalID": f"again-{name}"}

    def _evaluation(self, _: Any, name: str) -> Answer:
        return 200, {"ID": name, "Status": "complete", "DeploymentID": ""}

    def _variable(self, _: Any, path: str) -> Answer:
        held = self.variables.get(path)
        return NOT_FOUND if held is None else (200, {"Items": held, "ModifyIndex": 3})

    def _set_variable(self, body: Any, path: str) -> Answer:
        self.variables[path] = body["Items"]
        self.restarts[path.rpartition("/")[2]] += 1
        return 200, {"Items": body["Items"]}

    def _health(self, _: Any, service: str, passing: str | None) -> Answer:
        """As Consul answers: beside the service's own check stands that of its host, which is well."""
        self.asked[service] += 1
        critical = service in self.critical or self.recovering[service] > 0
        self.recovering[service] -= service in self.recovering
        if not critical and (service not in self.jobs or service in self.dead):
            return 200, []
        if critical and passing:
            return 200, []
        own = ("critical", "503: no model can be used") if critical else ("passing", "200 OK")
        checks = [
            {"CheckID": "serfHealth", "ServiceName": "", "Status": "passing", "Output": "Agent alive"},
            {
                "CheckID": f"_nomad-check-{service}",
                "ServiceName": service,
                "Status": own[0],
                "Output": own[1],
            },
        ]
        return 200, [{"Service": {"Service": service}, "Checks": checks}]


@contextmanager
def fake_cluster() -> Iterator[FakeCluster]:
    """A running fake, whose `url` stands for both agents' addresses."""
    state = FakeCluster()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _serve(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            asked = urlsplit(self.path)
            passing = "?passing" if "passing" in asked.query else ""
            status, answer = state.answer(self.command, asked.path + passing, body)
            content = json.dumps(answer).encode()
            self.send_response(HTTPStatus(status))
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _serve

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield state
        finally:
            server.shutdown()
            serving.join()
