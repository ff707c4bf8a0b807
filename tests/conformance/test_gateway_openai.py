"""The official OpenAI client against a real gateway process, with a scripted model and an agent behind it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion

from clusterkit.clock import SystemClock
from clusterkit.config.catalogue import SERVICE_PREFIX
from clusterkit.config.environment import environment
from clusterkit.ports.local_registry import LocalRegistry
from clusterkit.ports.registry import Instance, Registry
from clusterkit.telemetry.tracing import TraceMiddleware
from clusterkit.testing import ScriptedLlm, scripted_llm
from moe_gateway.keys import hash_key
from pipecatapp.__main__ import open_agent
from pipecatapp.settings import PipecatappSettings
from tests.servers.asgi_server import serving

ROOT = Path(__file__).resolve().parents[2]
TEXT = "The quick brown fox\njumps over 13 lazy dogs … and stops."


@contextmanager
def gateway_process(home: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    given = {
        "MOE_GATEWAY_HOME": str(home),
        "MOE_GATEWAY_PORT": "0",
        "MOE_GATEWAY_MODELS_FILE": str(ROOT / "group_vars/all/models.yaml"),
        **variables,
    }
    with (home / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moe_gateway"], cwd=ROOT, env={**environment(), **given}, stderr=log
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@dataclass
class Front:
    """A gateway process and the registry that it shares with the test."""

    url: str
    process: subprocess.Popen[bytes]
    registry: Registry
    announced: dict[str, Instance] = field(default_factory=dict)

    def client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="any", max_retries=0, timeout=20)

    async def put(self, name: str, llm: ScriptedLlm) -> None:
        """Announce a scripted model as an expert and wait until the gateway has seen it."""
        await self.announce(name, f"{SERVICE_PREFIX}{name}", llm.url)

    async def put_agent(self, url: str) -> None:
        """Announce an agent and wait until the gateway has seen it."""
        await self.announce("hearth", "pipecatapp", url)

    async def announce(self, model: str, service: str, url: str) -> None:
        address, _, port = url.removeprefix("http://").partition(":")
        instance = Instance(service=service, id=f"{service}-{port}", address=address, port=int(port))
        self.announced[model] = instance
        await self.registry.register(instance, ttl=600)
        await self.registry.heartbeat(instance.id, healthy=True)
        await self.becomes(model, "ready")

    async def take_all(self) -> None:
        """Take away again whatever was announced and wait until the gateway has seen that."""
        for model, instance in self.announced.items():
            await self.registry.deregister(instance.id)
            await self.becomes(model, "down")

    async def becomes(self, model: str, status: str) -> None:
        async with asyncio.timeout(30), httpx.AsyncClient(base_url=self.url) as client:
            while (await client.get(f"/v1/models/{model}")).json().get("status") != status:
                pass


@asynccontextmanager
async def front_of(home: Path, process: subprocess.Popen[bytes]) -> AsyncIterator[Front]:
    index = 0
    async with LocalRegistry(home / "run" / "registry.db", SystemClock()) as registry:
        async with asyncio.timeout(60):  # for the program to start on a busy machine
            while not (found := await registry.instances("moe-gateway")):
                assert process.poll() is None, "the gateway has ended"
                index = await registry.wait_for_change(index, timeout=1)
        yield Front(found[0].url, process, registry)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    home = tmp_path_factory.mktemp("hearth")
    with gateway_process(home) as process:
        yield home, process


@pytest.fixture
async def front(running: tuple[Path, subprocess.Popen[bytes]]) -> AsyncIterator[Front]:
    async with front_of(*running) as found:
        yield found
        await found.take_all()


@pytest.fixture
def llm() -> Iterator[ScriptedLlm]:
    with scripted_llm([{"text": TEXT}]) as running:
        yield running


@pytest.fixture(params=["main", "coding", "hearth"])
async def model(
    request: pytest.FixtureRequest,
    front: Front,
    running: tuple[Path, subprocess.Popen[bytes]],
    llm: ScriptedLlm,
) -> AsyncIterator[str]:
    """Each kind of model that the gateway offers; the agent thinks with `main` behind the same gateway."""
    name: str = request.param
    await front.put("main" if name == "hearth" else name, llm)
    if name != "hearth":
        yield name
        return
    home, _ = running
    settings = PipecatappSettings(home=home, workflows_dir=ROOT / "workflows")
    async with (
        open_agent(settings, front.registry, SystemClock()) as agent,
        serving(TraceMiddleware(agent.app)) as url,
    ):
        await front.put_agent(url)
        yield name


SERVICES = {"main": "expert-main", "coding": "expert-coding", "hearth": "pipecatapp"}


@pytest.mark.req("GTW-02")
async def test_the_client_gets_a_valid_completion(front: Front, llm: ScriptedLlm, model: str) -> None:
    began = int(SystemClock().now().timestamp())
    async with front.client() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model=model, messages=[{"role": "user", "content": "Tell me a story."}]
        )
    answer = raw.parse()
    ChatCompletion.model_validate(answer.model_dump(), strict=True)
    assert answer.id
    assert answer.object == "chat.completion"
    assert answer.model == model
    assert type(answer.created) is int
    assert began <= answer.created <= SystemClock().now().timestamp()
    (choice,) = answer.choices
    assert (choice.index, choice.message.role, choice.message.content) == (0, "assistant", TEXT)
    assert choice.finish_reason == "stop"
    # What the scripted model counts: four characters of the request are a token, and each word of its answer.
    [asked] = llm.requests()
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(json.dumps(asked["body"])) // 4
    assert answer.usage.completion_tokens == len(TEXT.split())
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert raw.headers["x-hearth-model"] == SERVICES[model]
    assert raw.headers["x-request-id"]


@pytest.mark.req("GTW-10")
async def test_a_stream_concatenates_to_the_whole_answer_and_ends_with_done(front: Front, model: str) -> None:
    messages = [{"role": "user", "content": "Tell me a story."}]
    async with front.client() as client:
        whole = await client.chat.completions.create(model=model, messages=messages)  # type: ignore[arg-type]
        stream = await client.chat.completions.create(  # type: ignore[call-overload]
            model=model, messages=messages, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    pieces = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert len([piece for piece in pieces if piece]) > 5
    assert "".join(pieces) == whole.choices[0].message.content == TEXT
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert reasons == ["stop"]
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == len(TEXT.split())
    async with httpx.AsyncClient() as plain:
        body = {"model": model, "messages": messages, "stream": True}
        response = await plain.post(f"{front.url}/v1/chat/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.content.endswith(b"\n\ndata: [DONE]\n\n")
    assert response.content.count(b"[DONE]") == 1


@pytest.mark.req("GTW-09")
@pytest.mark.parametrize("expert", ["main", "coding"])
async def test_everything_the_client_sends_reaches_the_expert(front: Front, expert: str) -> None:
    calls = [{"name": "add", "arguments": {"a": 1, "b": 2}}]
    tools = [
        {
            "type": "function",
            "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {}, "b": {}}}},
        }
    ]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1+2?"},
        {"role": "assistant", "content": "3"},
        {"role": "user", "content": "sure?"},
    ]
    with scripted_llm([{"tool_calls": calls}]) as llm:
        await front.put(expert, llm)
        async with front.client() as client:
            answer = await client.chat.completions.create(  # type: ignore[call-overload]
                model=expert,
                messages=messages,
                temperature=0.3,
                max_tokens=17,
                stop=["\n", "END"],
                seed=7,
                tools=tools,
                tool_choice="auto",
                extra_body={"cache_prompt": True},
            )
        [asked] = llm.requests()
    assert asked["body"] == {
        "model": expert,
        "messages": messages,
        "temperature": 0.3,
        "max_tokens": 17,
        "stop": ["\n", "END"],
        "seed": 7,
        "tools": tools,
        "tool_choice": "auto",
        "cache_prompt": True,
    }
    [call] = answer.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("add", '{"a": 1, "b": 2}')


@pytest.mark.req("GTW-11")
async def test_the_client_lists_models_with_readiness(front: Front, llm: ScriptedLlm) -> None:
    await front.put("main", llm)
    async with front.client() as client:
        models = [model async for model in client.models.list()]
        one = await client.models.retrieve("auto")
    status = {model.id: model.status for model in models}  # type: ignore[attr-defined]
    assert status["main"] == status["auto"] == "ready"
    assert status["coding"] == status["hearth"] == "down"
    assert all(isinstance(model.created, int) and model.owned_by for model in models)
    assert one.id == "auto"


async def test_the_client_understands_every_refusal(front: Front) -> None:
    async with front.client() as client:

        async def ask(model: str) -> None:
            await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}])

        with pytest.raises(openai.NotFoundError) as unknown:
            await ask("gpt-9")
        assert unknown.value.code == "model_not_found"
        assert unknown.value.param == "model"
        with pytest.raises(openai.InternalServerError) as down:
            await ask("main")
        assert down.value.status_code == 503
        assert int(down.value.response.headers["retry-after"]) > 0
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("gpt-9")


async def test_the_client_hears_that_a_stream_was_cut(front: Front) -> None:
    with scripted_llm([{"text": TEXT, "cut_after": 3}]) as llm:
        await front.put("main", llm)
        async with front.client() as client:
            stream = await client.chat.completions.create(
                model="main", messages=[{"role": "user", "content": "x"}], stream=True
            )
            with pytest.raises(openai.APIError, match="mid-stream"):
                [chunk async for chunk in stream]


async def test_the_clients_own_retry_gets_through_a_short_outage(front: Front) -> None:
    with scripted_llm([{"status": 503, "retry_after": 1}, {"text": "back"}]) as llm:
        await front.put("main", llm)
        async with front.client() as client:
            answer = await client.with_options(max_retries=2).chat.completions.create(
                model="main", messages=[{"role": "user", "content": "x"}]
            )
    assert answer.choices[0].message.content == "back"


async def test_an_expert_that_stops_is_noticed(front: Front, llm: ScriptedLlm) -> None:
    await front.put("main", llm)
    await front.take_all()
    async with front.client() as client:
        with pytest.raises(openai.InternalServerError) as down:
            await client.chat.completions.create(model="main", messages=[{"role": "user", "content": "x"}])
    assert down.value.status_code == 503


async def test_told_to_stop_the_gateway_leaves_the_registry_and_ends_in_good_order(tmp_path: Path) -> None:
    with gateway_process(tmp_path) as process:
        async with front_of(tmp_path, process) as front:
            process.terminate()
            assert await asyncio.to_thread(process.wait, 10) == 0
            assert await front.registry.instances("moe-gateway") == ()


def test_beyond_loopback_it_does_not_start_without_keys(tmp_path: Path) -> None:
    given = {"MOE_GATEWAY_HOME": str(tmp_path), "MOE_GATEWAY_HOST": "0.0.0.0", "MOE_GATEWAY_PORT": "0"}
    ended = subprocess.run(
        [sys.executable, "-m", "moe_gateway"],
        cwd=ROOT,
        env={**environment(), **given},
        capture_output=True,
        timeout=20,
    )
    assert ended.returncode != 0
    assert b"credentials" in ended.stderr


async def test_beyond_loopback_with_keys_it_serves_whoever_has_one_under_any_name(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(hash_key("right") + "\n")
    with gateway_process(
        tmp_path, MOE_GATEWAY_HOST="0.0.0.0", MOE_GATEWAY_KEYS_FILE=str(keys)
    ) as process:  # fmt: skip
        async with (
            front_of(tmp_path, process) as front,
            httpx.AsyncClient(base_url=front.url, headers={"host": "hearth.lan"}) as client,
        ):
            assert (await client.get("/v1/models")).status_code == 401
            answer = await client.get("/v1/models", headers={"authorization": "Bearer right"})
            assert answer.status_code == 200
