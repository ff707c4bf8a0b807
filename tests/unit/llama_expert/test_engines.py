"""How the engines are started, and the one that we serve ourselves."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from llama_expert.engines.engine import (
    Launch,
    PythonEngine,
    announce,
    announced_url,
    read_options,
)
from llama_expert.engines.llama_cpp_python import OneAtATime, model_app
from llama_expert.engines.llama_server import LlamaServerEngine

KEY = "the-secret-key"


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    key_file = tmp_path / "key"
    key_file.write_text(KEY + "\n")
    model = tmp_path / "model.gguf"
    return Launch(
        model_path=model, alias="m", context=512, threads=3, repeat_penalty=1.1, port=1234, key_file=key_file
    )


@pytest.mark.parametrize(
    "engine", [PythonEngine("some.module"), LlamaServerEngine(Path("/opt/llama-server"))]
)
def test_no_engine_has_the_key_on_its_command_line(
    engine: PythonEngine | LlamaServerEngine, launch: Launch
) -> None:
    command = engine.command(launch)
    assert KEY not in " ".join(command)
    assert str(launch.key_file) in command
    assert str(launch.model_path) in command


def test_a_python_engine_reads_back_what_it_was_started_with(launch: Launch) -> None:
    options = read_options(list(PythonEngine("some.module").command(launch)[3:]))
    assert (options.model, options.alias) == (str(launch.model_path), "m")
    assert (options.context, options.threads, options.repeat_penalty) == (512, 3, 1.1)
    assert options.key == KEY


def test_llama_server_listens_on_loopback_with_no_page_and_its_own_options(launch: Launch) -> None:
    engine = LlamaServerEngine(Path("/opt/llama-server"))
    command = engine.command(launch)
    assert command[0] == "/opt/llama-server"
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "1234"
    assert command[command.index("--threads") + 1] == "3"
    assert "--no-ui" in command
    told = engine.environment({"LLAMA_ARG_HOST": "0.0.0.0", "PATH": "/bin"})
    assert told == {"PATH": "/bin", "GGML_NO_BACKTRACE": "1"}


@pytest.mark.req("MOD-04")
def test_llama_server_splits_a_model_over_the_servers_it_is_told(launch: Launch) -> None:
    engine = LlamaServerEngine(Path("/opt/llama-server"))
    command = engine.command(replace(launch, rpc_servers=("192.0.2.1:50052", "192.0.2.2:50052")))
    assert command[command.index("--rpc") + 1] == "192.0.2.1:50052,192.0.2.2:50052"
    assert "--rpc" not in engine.command(launch)


def test_a_ready_line_is_told_from_log_lines(capsys: pytest.CaptureFixture[str]) -> None:
    announce("http://127.0.0.1:5")
    assert announced_url(capsys.readouterr().out) == "http://127.0.0.1:5"
    for line in ("", "loading", '{"listening"', '{"listening": 5}', '{"other": "http://x"}'):
        assert announced_url(line) is None


class StubModel:
    """Counts how many requests use it at once and how much it generated."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.at_once = self.most_at_once = self.generated = 0
        self.go_on = threading.Semaphore(0)

    def create_chat_completion(self, **wanted: Any) -> Any:
        self.asked.append(wanted)
        if wanted["stream"]:
            return self._stream()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.go_on.acquire(timeout=5)
        self.at_once -= 1
        if wanted.get("max_tokens") == -5:
            raise ValueError("max_tokens is out of range")
        return {"object": "chat.completion", "choices": [], "model": "/path/on/disk.gguf"}

    def _stream(self) -> Iterator[dict[str, Any]]:
        while self.go_on.acquire(timeout=5):
            self.generated += 1
            yield {"object": "chat.completion.chunk", "choices": [{"delta": {"content": "x"}}]}


def body(**more: Any) -> dict[str, Any]:
    return {"model": "main", "messages": [{"role": "user", "content": "hi"}], **more}


@pytest.fixture
def stub() -> StubModel:
    return StubModel()


@pytest.fixture
def client(stub: StubModel) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(model_app(stub, "small", repeat_penalty=1.1))
    return httpx.AsyncClient(transport=transport, base_url="http://model")


CHAT = "/v1/chat/completions"


async def test_the_answer_names_the_model_and_not_its_path(
    stub: StubModel, client: httpx.AsyncClient
) -> None:
    stub.go_on.release()
    answer = await client.post(CHAT, json=body(temperature=0.5, stop=["."], unknown="dropped"))
    assert answer.json()["model"] == "small"
    (asked,) = stub.asked
    assert asked.pop("messages") == [{"role": "user", "content": "hi"}]
    assert asked == {"temperature": 0.5, "stop": ["."], "repeat_penalty": 1.1, "stream": False}


async def test_the_sampling_default_holds_only_for_requests_that_bring_none(
    stub: StubModel, client: httpx.AsyncClient
) -> None:
    stub.go_on.release(2)
    for given in ({}, {"repeat_penalty": 1.5}):
        await client.post(CHAT, json=body(**given))
    assert [asked["repeat_penalty"] for asked in stub.asked] == [1.1, 1.5]


async def test_requests_take_turns_on_the_model(stub: StubModel, client: httpx.AsyncClient) -> None:
    stub.go_on.release(5)
    answers = await asyncio.gather(*(client.post(CHAT, json=body()) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5
    assert stub.most_at_once == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"model": "m"}', b'{"model": "m", "messages": []}'])
async def test_a_bad_request_is_refused_in_openai_shape(client: httpx.AsyncClient, content: bytes) -> None:
    answer = await client.post(CHAT, content=content)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_what_the_model_refuses_is_a_bad_request(stub: StubModel, client: httpx.AsyncClient) -> None:
    stub.go_on.release()
    answer = await client.post(CHAT, json=body(max_tokens=-5))
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "max_tokens is out of range"


async def test_generation_ends_when_nobody_listens_any_more(stub: StubModel) -> None:
    served = OneAtATime(stub)
    stream = served.stream({"stream": True})
    stub.go_on.release()
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    stub.go_on.release(2)  # one to notice that nobody listens, one for the next request
    answer = await served.complete({"stream": False})
    assert answer["object"] == "chat.completion"
    assert stub.generated == 2
