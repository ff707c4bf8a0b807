"""`python -m llama_expert` with the real model: answers, falls through, comes back after `kill -9`."""

import asyncio
import importlib.util
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from clusterkit.clock import SystemClock
from clusterkit.config.environment import environment
from clusterkit.ports.local_registry import LocalRegistry
from clusterkit.ports.registry import Instance
from tests.catalogues import built_in_model, catalogue_of

ROOT = Path(__file__).parents[2]
STUB_PACKAGES = ROOT / "tests/data/stub_packages"
FALLBACK: Mapping[str, Any] = built_in_model()
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
QUESTION = {
    "model": "main",
    "messages": [{"role": "user", "content": "Say hello."}],
    "max_tokens": 8,
    "temperature": 0,
}


def bundled_model() -> Path:
    """The bundled model's file."""
    found = importlib.util.find_spec(FALLBACK["sources"][0]["package"])
    assert found is not None
    assert found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0], FALLBACK["filename"])


class Service:
    """A running `llama_expert` and its log."""

    def __init__(self, home: Path, process: asyncio.subprocess.Process) -> None:
        self.home, self.process = home, process
        self.seen: list[Mapping[str, Any]] = []

    async def logged(self, name: str, **fields: object) -> Mapping[str, Any]:
        """The next log line of that event with those fields."""
        assert self.process.stderr is not None
        async with asyncio.timeout(30):
            while line := await self.process.stderr.readline():
                event: Mapping[str, Any] = json.loads(line)
                self.seen.append(event)
                if event["event"] == name and all(event.get(key) == value for key, value in fields.items()):
                    return event
        raise AssertionError(f"it ended without logging {name}: {self.seen}")

    async def healthy(self) -> None:
        await self.logged("health", ok=True)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        instance = await self.healthy_instance("expert-main")
        token = (self.home / "secrets" / "llama_expert.token").read_text().strip()
        async with httpx.AsyncClient(
            base_url=f"http://{instance.address}:{instance.port}",
            headers={"authorization": f"Bearer {token}", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"},
            timeout=60,
        ) as client:
            yield client

    async def healthy_instance(self, service: str) -> Instance:
        async with (
            LocalRegistry(self.home / "run" / "registry.db", SystemClock()) as registry,
            asyncio.timeout(20),
        ):
            index = 0
            while True:
                index = await registry.wait_for_change(index, timeout=5)
                for instance in await registry.instances(service):
                    if instance.healthy:
                        return instance


@asynccontextmanager
async def service(home: Path, models: list[Mapping[str, Any]], **told: str) -> AsyncIterator[Service]:
    """`llama_expert` with the expert `main` over `models`."""
    catalogue = home / "models.yaml"
    catalogue.write_text(json.dumps(catalogue_of({"main": models})))  # JSON is YAML
    variables = {"home": str(home), "models_file": str(catalogue), **told}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llama_expert"),
        cwd=ROOT,
        env={**environment(), **{f"LLAMA_EXPERT_{name}".upper(): value for name, value in variables.items()}},
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    try:
        yield Service(home, process)
    finally:
        if process.returncode is None:
            process.terminate()
            assert process.stderr is not None
            await process.stderr.read()
        await process.wait()


def larger(name: str, memory_mb: int) -> dict[str, Any]:
    return {"name": name, "url": "file:///nowhere", "filename": f"{name}.gguf", "memory_mb": memory_mb}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path


async def test_it_answers_and_comes_back_after_its_model_server_was_killed(home: Path) -> None:
    async with service(home, [FALLBACK]) as running, running.client() as client:
        answer = await client.post("/experts/main/v1/chat/completions", json=QUESTION)
        assert answer.status_code == 200
        assert answer.json()["choices"][0]["message"]["content"].strip()
        assert answer.headers["x-request-id"] == TRACE
        served = await running.logged("expert_request")
        assert served["trace_id"] == TRACE
        assert (served["expert"], served["model"], served["status"]) == ("main", FALLBACK["name"], 200)
        metrics = await client.get("/metrics", headers={"accept": "application/openmetrics-text"})
        assert re.search(rf'hearth_expert_request_seconds_bucket.*expert="main".*{TRACE}', metrics.text)

        (before,) = (await client.get("/experts")).json()["experts"]
        os.kill(before["pid"], signal.SIGKILL)
        await running.logged("model_server_ended")
        assert (await client.get("/health")).status_code == 503
        meanwhile = await client.post("/experts/main/v1/chat/completions", json=QUESTION)
        assert meanwhile.status_code == 200
        await running.logged("model_ready")
        (after,) = (await client.get("/experts")).json()["experts"]
        assert after["restarts"] == 1
        assert after["pid"] != before["pid"]


@pytest.mark.req("MOD-05")
async def test_models_that_are_cut_short_or_do_not_load_are_passed_over_and_the_active_one_is_named(
    home: Path,
) -> None:
    with bundled_model().open("rb") as whole:
        (home / "models" / "cut-short.gguf").write_bytes(whole.read(5_000_000))
    (home / "models" / "empty.gguf").write_bytes(b"GGUF\3\0\0\0" + bytes(16))
    models = [larger("cut-short", 900), larger("empty", 800), FALLBACK]
    async with service(home, models) as running:
        assert (await running.logged("model_refused", model="cut-short"))["reason"] == "truncated"
        await running.logged("model_did_not_load", model="empty")
        await running.logged("model_chosen", expert="main", model=FALLBACK["name"])
        await running.healthy()
        active = await running.healthy_instance("expert-main")
        assert active.meta["model"] == FALLBACK["name"]
        assert active.meta["built_in"] == "true"
        assert active.base_path == "/experts/main"


@pytest.mark.req("MOD-07", "MON-09")
async def test_with_four_gigabytes_reported_the_fallback_is_chosen_and_the_service_becomes_healthy(
    home: Path,
) -> None:
    (home / "models" / "large.gguf").symlink_to(bundled_model())
    async with service(home, [larger("large", 5300), FALLBACK], memory_mb="4096") as running:
        refused = await running.logged("model_refused", model="large")
        assert refused["detail"] == "needs 5300 MB, 3584 MB free"
        await running.logged("health", ok=False)
        await running.healthy()
        async with running.client() as client:
            health = await client.get("/health")
        assert health.status_code == 200
        assert health.json()["models"] == {"main": FALLBACK["name"]}


@pytest.mark.req("MOD-03")
async def test_the_llama_cpp_python_engine_answers_streamed_and_not(home: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("llama_cpp") is None:  # it takes minutes to compile
            patch.setenv("PYTHONPATH", str(STUB_PACKAGES))
        async with service(home, [FALLBACK], engine="llama-cpp-python") as running:
            await running.healthy()
            async with running.client() as client:
                whole = await client.post("/experts/main/v1/chat/completions", json=QUESTION)
                streamed = await client.post(
                    "/experts/main/v1/chat/completions", json={**QUESTION, "stream": True}
                )
    text = whole.json()["choices"][0]["message"]["content"]
    events = [line.removeprefix("data: ") for line in streamed.text.splitlines() if line]
    assert events[-1] == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"].get("content", "") for event in events[:-1]]
    assert "".join(deltas) == text
    assert text


async def test_a_model_that_knows_nothing_of_tools_calls_one_that_must_be_called(home: Path) -> None:
    light: Any = {
        "type": "function",
        "function": {
            "name": "light",
            "description": "Switches the light of a room.",
            "parameters": {
                "type": "object",
                "properties": {"room": {"enum": ["kitchen", "hall"]}, "on": {"type": "boolean"}},
                "required": ["room", "on"],
            },
        },
    }
    asked: Any = {
        "model": "main",
        "messages": [{"role": "user", "content": "Turn the light in the kitchen on."}],
        "tools": [light],
        "tool_choice": {"type": "function", "function": {"name": "light"}},
        "temperature": 0,
        "max_tokens": 200,
    }
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(service(home, [{**FALLBACK, "tools": "schema"}]))
        await running.healthy()
        plain = await stack.enter_async_context(running.client())
        client = openai.AsyncOpenAI(
            base_url=f"{plain.base_url}/experts/main/v1",
            api_key=plain.headers["authorization"].removeprefix("Bearer "),
            max_retries=0,
            timeout=60,
        )
        async with client:
            answer = await client.chat.completions.create(**asked)
            [call] = answer.choices[0].message.tool_calls or []
            chunks = [one async for one in await client.chat.completions.create(**asked, stream=True)]
            calls = [call for one in chunks for call in one.choices[0].delta.tool_calls or []]
        told = await running.healthy_instance("expert-main")
    given = json.loads(call.function.arguments)
    assert (call.function.name, answer.choices[0].finish_reason) == ("light", "tool_calls")
    assert given.keys() == {"room", "on"}
    assert given["room"] in ("kitchen", "hall")
    assert isinstance(given["on"], bool)
    assert (
        "".join(call.function.arguments or "" for call in calls if call.function) == call.function.arguments
    )
    assert not any(one.choices[0].delta.content for one in chunks)
    assert told.meta["tools"] == "schema"


@pytest.mark.parametrize(("header", "reason"), [({}, "tool_calls"), ({"X-Hearth-Tools": "native"}, "stop")])
async def test_the_model_servers_own_way_with_tools_can_be_asked_for(
    home: Path, header: Mapping[str, str], reason: str
) -> None:
    tool = {"type": "function", "function": {"name": "wave", "description": "Waves."}}
    stopped = {**QUESTION, "tools": [tool], "tool_choice": "auto", "stop": [" "]}
    wanted = stopped if header else {**stopped, "tool_choice": "required"}
    async with service(home, [{**FALLBACK, "tools": "schema"}]) as running:
        await running.healthy()
        async with running.client() as client:
            answer = await client.post("/experts/main/v1/chat/completions", json=wanted, headers=header)
    assert answer.json()["choices"][0]["finish_reason"] == reason


async def test_no_model_server_outlives_a_killed_service(home: Path) -> None:
    async with service(home, [FALLBACK]) as running:
        ready = await running.logged("model_ready")
        watch = os.pidfd_open(ready["pid"])
        running.process.kill()
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(watch, ended.set)
        async with asyncio.timeout(10):
            await ended.wait()
        asyncio.get_running_loop().remove_reader(watch)
        os.close(watch)
