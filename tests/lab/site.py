"""A converged cluster as an operator sees it: Consul, Nomad, the services, and whether all is as it was.

Requests run on a host of the lab, over its loopback and with its own CA file, so that what is asked is
what a program there would be told.
"""

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import yaml

from tests.lab.engine import LabError, pause
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.playbook_run import BIN, ROOT, PlaybookRun, ansible_environment
from tests.lab.state import State, moving, runs

ROUNDS = 3  #: so often all hosts are asked before a question counts as unanswered
TLS = "/etc/hearth/tls/ca.pem"

#: Reads one request from its input and prints the answer; tokens stay off every command line.
ASK = """
import json, ssl, sys, urllib.error, urllib.request
r = json.load(sys.stdin)
q = urllib.request.Request(r["url"], method=r["method"], headers=r["headers"])
if r["body"] is not None:
    q.data = r["body"].encode()
try:
    a = urllib.request.urlopen(q, timeout=r["timeout"], context=ssl.create_default_context(cafile=r["ca"]))
    out = {"status": a.status, "index": a.headers.get("X-Consul-Index"), "text": a.read().decode()}
except urllib.error.HTTPError as e:
    out = {"status": e.code, "index": None, "text": e.read().decode()}
except OSError as e:
    out = {"status": 0, "index": None, "text": str(e)}
print(json.dumps(out))
"""


@dataclass(frozen=True)
class Answer:
    """What a server said; status 0 means that it said nothing."""

    status: int
    text: str
    index: str | None = None

    def json(self) -> Any:
        """The body, or an error that quotes the answer."""
        if self.status != 200:
            raise LabError(f"answered {self.status or 'nothing'}: {self.text[:500]}")
        return json.loads(self.text) if self.text else None


@dataclass(frozen=True)
class Instance:
    """A healthy instance of a service."""

    node: str
    address: str
    port: int
    tags: tuple[str, ...]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.address}:{self.port}"


def instances_of(listed: list[dict[str, Any]]) -> list[Instance]:
    """The instances in an answer of Consul's health endpoint."""
    return [
        Instance(
            entry["Node"]["Node"],
            entry["Service"]["Address"] or entry["Node"]["Address"],
            entry["Service"]["Port"],
            tuple(entry["Service"]["Tags"] or ()),
        )
        for entry in listed
    ]


class Site:
    """The cluster on the hosts of a lab."""

    def __init__(self, lab: Lab) -> None:
        """Nothing is asked yet."""
        self.lab = lab

    @cached_property
    def variables(self) -> dict[str, Any]:
        """What group_vars say to every site; the lab's own values win."""
        loaded = yaml.safe_load((ROOT / "group_vars/all/main.yaml").read_text())
        return {**loaded, **yaml.safe_load((self.lab.folder / "variables.yaml").read_text())}

    def secrets(self) -> dict[str, Any]:
        """The site's secrets, decrypted in memory."""
        done = subprocess.run(
            [str(BIN / "ansible-vault"), "view", str(self.lab.folder / "controller" / "secrets.yaml")],
            env=ansible_environment({**self.lab.environment, "PAGER": "cat"}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise LabError(f"the secrets of {self.lab.name} cannot be read: {done.stderr.strip()}")
        loaded: dict[str, Any] = yaml.safe_load(done.stdout)
        return loaded

    @cached_property
    def _first_secrets(self) -> dict[str, Any]:
        return self.secrets()

    def forget_secrets(self) -> None:
        """Read them anew next time; after a rotation."""
        self.__dict__.pop("_first_secrets", None)

    @property
    def client_key(self) -> str:
        """The key with which an OpenAI client may use the gateway."""
        return str(self._first_secrets["client_key"])

    def token(self, kind: str) -> str:
        """The management token of `consul` or `nomad`."""
        return str(self._first_secrets[f"{kind}_management_token"])

    # --- asking ------------------------------------------------------------------------------------

    def ask(
        self,
        host: Host,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        timeout: float = 10,
    ) -> Answer:
        """One request from a host."""
        request = {
            "url": url,
            "method": method,
            "headers": dict(headers or {}),
            "body": body if body is None or isinstance(body, str) else json.dumps(body),
            "timeout": timeout,
            "ca": TLS,
        }
        done = host.exec(["python3", "-c", ASK], given=json.dumps(request), timeout=timeout + 10, check=False)
        if done.returncode != 0:
            return Answer(0, done.stderr.strip())
        return Answer(**json.loads(done.stdout))

    def consul(self, path: str, *, host: str | None = None, token: str | None = None, **how: Any) -> Answer:
        """Ask Consul's agent on a host; without a name, the first agent that answers."""
        headers = {"X-Consul-Token": token or self.token("consul")}
        url = f"https://127.0.0.1:{self.variables['consul_https_port']}{path}"
        return self._first_answer(host, url, headers, how)

    def nomad(self, path: str, *, host: str | None = None, token: str | None = None, **how: Any) -> Answer:
        """Ask Nomad's agent on a host; without a name, the first agent that answers."""
        headers = {"X-Nomad-Token": token or self.token("nomad")}
        url = f"https://127.0.0.1:{self.variables['nomad_http_port']}{path}"
        return self._first_answer(host, url, headers, how)

    def _first_answer(
        self, host: str | None, url: str, headers: Mapping[str, str], how: dict[str, Any]
    ) -> Answer:
        if host:
            return self.ask(self.lab.host(host), url, headers=headers, **how)
        answer = Answer(0, "no host has power")
        for _ in range(ROUNDS):
            for one in self.lab.machines.values():
                if one.runs:
                    answer = self.ask(one, url, headers=headers, **how)
                if answer.status not in (0, 500, 503):
                    return answer
            pause(0.3)
        return answer

    # --- Consul ------------------------------------------------------------------------------------

    def members(self, host: str | None = None) -> dict[str, str]:
        """What gossip says about each host."""
        words = {1: "alive", 2: "leaving", 3: "left", 4: "failed"}
        listed = self.consul("/v1/agent/members", host=host).json()
        return {m["Name"]: words.get(m["Status"], str(m["Status"])) for m in listed}

    def consul_leader(self) -> str:
        """The host whose server leads, or an empty text."""
        return self._leader(self.consul("/v1/status/leader"))

    def nomad_leader(self) -> str:
        """The host whose server leads, or an empty text."""
        return self._leader(self.nomad("/v1/status/leader"))

    def _leader(self, answer: Answer) -> str:
        if answer.status != 200:
            return ""
        address = json.loads(answer.text).rpartition(":")[0]
        return next((h.name for h in self.lab.machines.values() if h.address == address), "")

    def lead_from(self, host: str) -> None:
        """Make the servers of a host lead Consul and Nomad."""
        self._transfer(self.consul, "transfer-leader", self.consul_leader, host)
        self._transfer(self.nomad, "transfer-leadership", self.nomad_leader, host)

    def _transfer(self, ask: Callable[..., Answer], verb: str, leader: Callable[[], str], host: str) -> None:
        if leader() != host:
            listed = ask("/v1/operator/raft/configuration").json()["Servers"]
            [server] = [one["ID"] for one in listed if one["Node"].partition(".")[0] == host]
            ask(f"/v1/operator/raft/{verb}?id={server}", method="POST").json()
            self.wait(lambda: leader() == host, 20, f"{host} leads")

    def peers(self) -> frozenset[str]:
        """The hosts that vote in Consul."""
        listed = self.consul("/v1/operator/raft/configuration").json()
        return frozenset(server["Node"] for server in listed["Servers"] if server["Voter"])

    def passing(self, service: str) -> list[Instance]:
        """The instances of a service that are healthy."""
        return instances_of(self.consul(f"/v1/health/service/{service}?passing=1").json())

    # --- Nomad -------------------------------------------------------------------------------------

    def nodes(self) -> dict[str, str]:
        """Every client and whether it takes work."""
        listed = self.nomad("/v1/nodes").json()
        kept = [node for node in listed if node["Name"] in self.lab.machines]
        newest = sorted(kept, key=lambda node: node["ModifyIndex"])
        return {
            node["Name"]: f"{node['Status']} {node['SchedulingEligibility']}{' draining' * node['Drain']}"
            for node in sorted(newest, key=lambda node: bool(node["Status"] == "ready"))
        }

    def job(self, name: str) -> dict[str, Any]:
        """What Nomad knows about a job."""
        found: dict[str, Any] = self.nomad(f"/v1/job/{name}").json()
        return found

    def jobs(self) -> list[str]:
        """The jobs that should run."""
        return [job["ID"] for job in self.nomad("/v1/jobs").json() if not job["Stop"]]

    def allocations(self, job: str, *, running: bool = True) -> list[dict[str, Any]]:
        """The allocations of a job that run and are to run, or all, newest first."""
        listed = self.nomad(f"/v1/job/{job}/allocations").json()
        wanted = [a for a in listed if not running or runs(a)]
        return sorted(wanted, key=lambda a: -int(a["CreateIndex"]))

    # --- the whole ---------------------------------------------------------------------------------

    def state(self) -> State:
        """A picture of everything that a fault must leave as it was."""
        jobs = {name: self.job(name) for name in self.jobs()}
        allocations = {name: self.allocations(name, running=False) for name in jobs}
        on_their_way = {name: moving(jobs[name], listed) for name, listed in allocations.items()}
        return State(
            members={name: status for name, status in self.members().items() if status != "left"},
            peers=self.peers(),
            nodes=self.nodes(),
            versions={name: job["Version"] for name, job in jobs.items()},
            running={name: sum(map(runs, listed)) for name, listed in allocations.items()},
            passing={name: len(self.passing(name)) for name in jobs if self._has_service(jobs[name])},
            moving={name: count for name, count in on_their_way.items() if count},
        )

    def settled(self, within: float = 60) -> State:
        """The picture as soon as no job has anything on its way."""
        seen: list[State] = []

        def at_rest() -> bool:
            seen[:] = [self.state()]
            return not seen[0].moving

        self.wait(at_rest, within, "every job at rest")
        return seen[0]

    def _has_service(self, job: Mapping[str, Any]) -> bool:
        holders = [holder for group in job["TaskGroups"] for holder in (group, *group["Tasks"])]
        return any(service["Name"] == job["ID"] for holder in holders for service in holder["Services"] or [])

    def whole(self) -> bool:
        """Whether every host of the lab is there and takes part."""
        machines = self.lab.machines
        servers = {name for name, host in machines.items() if host.group == "controllers"}
        return (
            {name: word for name, word in self.members().items() if word != "left"}
            == dict.fromkeys(machines, "alive")
            and self.peers() == servers
            and self.nodes() == dict.fromkeys(machines, "ready eligible")
        )

    def without_versions(self, state: State) -> State:
        """A state that says nothing about the versions of jobs."""
        return replace(state, versions={})

    def wait_for_state(self, wanted: State, within: float) -> float:
        """Seconds until everything is as it was; an error naming what is not, when it takes longer."""
        last: list[str] = []

        def same() -> bool:
            last[:] = wanted.differences(self.state())
            return not last

        try:
            return self.wait(same, within, "the steady state")
        except LabError as error:
            raise LabError(f"{error}: {'; '.join(last)}") from error

    def wait(self, condition: Callable[[], bool], within: float, what: str) -> float:
        """Seconds until a condition holds; an error when it takes longer."""
        began = time.monotonic()
        problem = ""
        while True:
            try:
                if condition():
                    return time.monotonic() - began
                problem = ""
            except LabError as error:
                problem = f" ({error})"
            if time.monotonic() - began > within:
                raise LabError(f"{what}: not within {within:g} s{problem}")
            pause(0.2)

    def processes(self) -> dict[str, dict[int, int]]:
        """Per host, when each process of ours began: agents and tasks."""
        pattern = r"(consul|nomad)[^ ]* agent|/opt/hearth/releases/"
        return {name: host.started(pattern) for name, host in self.lab.machines.items() if host.runs}

    def converge(self, *arguments: str, extra: Mapping[str, Any] | None = None, **how: Any) -> PlaybookRun:
        """Run the root playbook."""
        return self.lab.ansible("playbook.yaml", *arguments, extra=extra, **how)
