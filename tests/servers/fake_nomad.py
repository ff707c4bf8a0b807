"""As much of Nomad's and Consul's HTTP API as the job roles ask for, in memory, on one port.

Jobs are healthy as soon as they are submitted, unless a test says otherwise. It remembers who was submitted,
which is what the tests count. Its answers are those that a real Nomad (1.10.5) and Consul (1.22.5) gave, in
tests/data, with other ids and states.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.servers.threaded_server import serving_in_thread

Answer = tuple[int, Any]
NOT_FOUND: Answer = (404, "not found")
INDEX = 10  #: of every job that is there
DATA = Path(__file__).parents[1] / "data"


def recorded(name: str) -> Any:
    """The answer of a real agent in `tests/data/NAME.json`, to be changed at will."""
    return json.loads((DATA / f"{name}.json").read_text())


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
    outdated: set[str] = field(default_factory=set)  #: ids of jobs whose task has not read new variables yet
    deployment: str = ""  #: how the roll-out of every submission ends; "": none is begun
    pending: Counter[str] = field(
        default_factory=Counter
    )  #: of `evaluation`, `deployment` and `restart` (for new variables): the question that finds it done
    broken: Counter[str] = field(default_factory=Counter)  #: by path: no leader for so many questions
    fits_no_host: bool = False
    overtaken: bool = False  #: somebody else changes each job and each variable after it was read
    output: dict[str, str] = field(default_factory=dict)  #: by stream: what every task wrote
    submitted: list[str] = field(default_factory=list)
    rescheduled: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str, body: Any) -> Answer:
        """The answer to one request."""
        if self.broken[path]:
            self.broken[path] -= 1
            return 500, "No cluster leader"
        for pattern, handle in (
            (r"POST /v1/jobs/parse", self._parse),
            (r"POST /v1/job/([\w-]+)/plan", self._plan),
            (r"POST /v1/job/([\w-]+)/evaluate", self._evaluate),
            (r"GET /v1/job/([\w-]+)", self._job),
            (r"GET /v1/job/([\w-]+)/allocations", self._allocations),
            (r"DELETE /v1/job/([\w-]+)", self._stop),
            (r"POST /v1/jobs", self._submit),
            (r"GET /v1/evaluation/(.+)", self._evaluation),
            (r"GET /v1/deployment/allocations/of-(.+)", self._allocations),
            (r"GET /v1/deployment/(.+)", self._deployment),
            (r"GET /v1/client/fs/logs/.+\?type=(.+)", self._logs),
            (r"GET /v1/var/(.+)", self._variable),
            (r"PUT /v1/var/(.+?)(?:\?cas=(\d+))?", self._set_variable),
            (r"GET /v1/health/service/([\w-]+)", self._health),
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
        answer = recorded("nomad/plan_without_place" if self.fits_no_host else "nomad/plan")
        answer["Diff"]["Type"] = kind
        return 200, {**answer, "JobModifyIndex": INDEX if held is not None else 0}

    def _job(self, _: Any, name: str) -> Answer:
        if name not in self.jobs:
            return NOT_FOUND
        return 200, {"ID": name, "Status": "dead" if name in self.dead else "running"}

    def _allocations(self, _: Any, name: str) -> Answer:
        if name not in self.jobs:
            return 200, []
        if name in self.outdated and not self._is_pending("restart"):
            self.outdated.discard(name)
            self.restarts[name] += 1
        (answer,) = recorded("nomad/allocations")
        states = {name: {**answer["TaskStates"]["web"], "Restarts": self.restarts[name]}}
        status = "failed" if name in self.dead else "running"
        return 200, [{**answer, "ID": f"first-{name}", "ClientStatus": status, "TaskStates": states}]

    def _submit(self, body: Any) -> Answer:
        name = body["Job"]["ID"]
        wanted, held = body.get("JobModifyIndex", 0), INDEX if name in self.jobs else 0
        if body.get("EnforceIndex") and (self.overtaken or wanted != held):
            return 500, f"Enforcing job modify index {wanted}: job exists with conflicting job modify index"
        self.jobs[name] = body["Job"]
        self.dead.discard(name)
        self.submitted.append(name)
        return 200, {**recorded("nomad/registration"), "EvalID": f"of-{name}", "JobModifyIndex": INDEX}

    def _stop(self, _: Any, name: str) -> Answer:
        self.stopped.append(name)
        return 200, {}

    def _evaluate(self, body: Any, name: str) -> Answer:
        if body["EvalOptions"]["ForceReschedule"]:
            self.rescheduled.append(name)
        return 200, {**recorded("nomad/registration"), "EvalID": f"again-{name}"}

    def _evaluation(self, _: Any, name: str) -> Answer:
        status = "pending" if self._is_pending("evaluation") else "complete"
        answer = recorded("nomad/evaluation")
        return 200, {**answer, "ID": name, "Status": status, "DeploymentID": name if self.deployment else ""}

    def _deployment(self, _: Any, name: str) -> Answer:
        status = "running" if self._is_pending("deployment") else self.deployment
        answer = recorded("nomad/deployment")
        return 200, {**answer, "ID": name, "Status": status, "StatusDescription": f"Deployment {status}"}

    def _is_pending(self, what: str) -> bool:
        self.pending[what] -= self.pending[what] > 0
        return self.pending[what] > 0

    def _logs(self, _: Any, stream: str) -> Answer:
        return (200, self.output[stream]) if stream in self.output else NOT_FOUND

    def _variable(self, _: Any, path: str) -> Answer:
        held = self.variables.get(path)
        return NOT_FOUND if held is None else (200, {**recorded("nomad/variable"), "Items": held})

    def _set_variable(self, body: Any, path: str, only_at: str | None) -> Answer:
        held = {**recorded("nomad/variable"), "Items": self.variables.get(path)}
        if only_at and (self.overtaken or int(only_at) != (held["ModifyIndex"] if held["Items"] else 0)):
            return 409, held
        self.variables[path] = body["Items"]
        self.outdated.add(path.rpartition("/")[2])
        return 200, {**held, "Items": body["Items"]}

    def _health(self, _: Any, service: str) -> Answer:
        """Beside the service's own check stands that of its host, which is well."""
        self.asked[service] += 1
        critical = service in self.critical or self.recovering[service] > 0
        self.recovering[service] -= service in self.recovering
        if not critical and (service not in self.jobs or service in self.dead):
            return 200, []
        (answer,) = recorded("consul/health_service")
        own = ("critical", "503: no model can be used") if critical else ("passing", "200 OK")
        answer["Service"]["Service"] = service
        answer["Checks"][1] |= {"ServiceName": service, "Status": own[0], "Output": own[1]}
        return 200, [answer]


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
            query = [(name, value) for name, value in parse_qsl(asked.query) if name in ("cas", "type")]
            path = asked.path + "".join(f"?{name}={value}" for name, value in query)
            status, answer = state.answer(self.command, path, body)
            content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(HTTPStatus(status))
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _serve

    with serving_in_thread(Handler) as state.url:
        yield state
