"""A whole Hearth on this machine: how fast it is up, what it weighs, what the agent adds to its model.

The peer for time and memory is the bare model server, started in the same window with the same model.
"""

import json
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

from clusterkit.config.catalogue import load_catalogue
from clusterkit.http.tokens import ensure_token
from llama_expert.model_file import find_model
from tests.houses import House, make_house

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 15  #: pairs of questions: to the agent, to the expert alone
QUESTION = "Name one use of a fireplace."
UP_TARGET_S = 12.0
MEMORY_TARGET_MB = 900.0
ADDED_TARGET_MS = 25.0
VERSION_TARGET_S = 0.12
ASK_TARGET_S = 0.3
COMMANDS = 9  #: times that each command is measured


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        peer_up, peer_mb = _bare_model_server(Path(folder))
        house = make_house(Path(folder) / "hearth")
        began = time.monotonic()
        started = house.hearth("up", "--detach")
        took = time.monotonic() - began
        assert started.returncode == 0, started.stderr
        try:
            _say(
                "hearth up to all healthy", took, UP_TARGET_S, "s", f"{took / peer_up:.1f} x the bare server"
            )
            used = _megabytes([*house.processes(), psutil.Process(_launcher(house))])
            _say("idle memory (PSS)", used, MEMORY_TARGET_MB, "MB", f"{used / peer_mb:.1f} x the bare server")
            _added(house)
            _command(house)
        finally:
            house.hearth("down")


def _say(what: str, value: float, target: float, unit: str, peer: str) -> None:
    sys.stdout.write(
        f"{what}: {value:.1f} {unit} (target {target:.0f} {unit}, ratio {value / target:.2f}; {peer})\n"
    )


def _launcher(house: House) -> int:
    return int((house.home / "hearth.lock").read_text())


def _megabytes(processes: list[psutil.Process]) -> float:
    # The proportional set size counts memory that several processes share once.
    return float(sum(process.memory_full_info().pss for process in processes)) / 2**20


def _bare_model_server(folder: Path) -> tuple[float, float]:
    spec = load_catalogue(ROOT / "group_vars/all/models.yaml").experts["main"].models[-1]
    model = find_model(spec, folder)
    assert model is not None
    ensure_token(folder, "peer")
    command = [sys.executable, "-m", "llama_expert.engines.xllamacpp", "--model", str(model)]
    command += ["--alias", "peer", "--context", "4096", "--threads", "1", "--repeat-penalty", "1.1"]
    command += ["--key-file", str(folder / "peer.token")]
    began = time.monotonic()
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["listening"]
        while httpx.get(f"{url}/health").status_code != 200:
            pass
        return time.monotonic() - began, _megabytes([psutil.Process(server.pid)])
    finally:
        server.kill()
        server.communicate()


def _added(house: House) -> None:
    """What is left of a question's time when the time inside the model server is taken away."""
    outside: dict[str, list[float]] = {"hearth": [], "main": []}
    inside: list[float] = []
    with httpx.Client(base_url=house.gateway, timeout=120) as client:
        for _ in range(ROUNDS):
            for model, left in outside.items():
                trace = secrets.token_hex(16)
                began = time.perf_counter()
                answer = client.post(
                    "/v1/chat/completions",
                    json={
                        "model": model,
                        "max_tokens": 48,
                        "messages": [{"role": "user", "content": QUESTION}],
                    },
                    headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
                )
                answer.raise_for_status()
                spent = 1000 * (time.perf_counter() - began)
                expert = _expert_ms(house, trace)
                left.append(spent - expert)
                inside.append(expert)
    agent, alone = (statistics.median(outside[model]) for model in ("hearth", "main"))
    share = (agent - alone) / statistics.median(inside)
    _say(
        "added by the agent path",
        agent - alone,
        ADDED_TARGET_MS,
        "ms",
        f"{share:.1%} of the model's own time",
    )
    sys.stdout.write(f"  outside the model: agent {agent:.1f} ms, expert alone {alone:.1f} ms (medians)\n")


def _command(house: House) -> None:
    """What the command itself costs, beside a bare Python."""
    bare = _cpu_seconds([sys.executable, "-c", ""], house)
    for arguments, target in ((["--version"], VERSION_TARGET_S), (["ask", "what is 6 * 7"], ASK_TARGET_S)):
        spent = _cpu_seconds([sys.executable, "-m", "hearth", *arguments], house)
        name = f"hearth {arguments[0]}, its own CPU"
        sys.stdout.write(
            f"{name}: {spent:.3f} s (target {target} s, ratio {spent / target:.2f}; "
            f"{spent / bare:.1f} x a bare Python)\n"
        )


def _cpu_seconds(command: list[str], house: House) -> float:
    """The median of what a command spends, in user and system mode together."""
    spent = []
    for _ in range(COMMANDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=house.environment, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(spent)


def _expert_ms(house: House, trace: str) -> float:
    for line in house.log("llama_expert"):
        if line["event"] == "expert_request" and line.get("trace_id") == trace:
            return float(line["ms"])
    raise AssertionError(f"the expert did not log trace {trace}")
