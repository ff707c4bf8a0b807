"""Every HTTP endpoint keeps to its own description, whatever it is asked."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from clusterkit.config.catalogue import ExpertSpec, ModelSpec
from clusterkit.http.openai_wire import ErrorAnswer
from clusterkit.telemetry.metrics import Metrics
from clusterkit.testing import FakeClock, ScriptedAnswer
from llama_expert.app import expert_app
from llama_expert.choose import FileFacts, Reason
from llama_expert.engines.engine import PythonEngine
from llama_expert.kept_server import ServerOptions
from llama_expert.lists import Lists
from llama_expert.model_servers import ModelServers
from moe_gateway.settings import GatewaySettings
from pipecatapp.settings import PipecatappSettings
from tests.servers.agent import WORKFLOWS, running_agent
from tests.servers.asgi_server import serving
from tests.servers.gateway import running_gateway

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 15  #: for each endpoint and mode
LEFT_OUT = {
    "pipecatapp /api/spoken",  # never ends; the tests of messages read it
    "llama_expert /health",  # truly 503, for no model server runs here
}


def idle_model_servers(folder: Path) -> ModelServers:
    """Model servers of which none was started."""
    model = ModelSpec(name="m", url="file:///m", filename="m.gguf", memory_mb=1)
    options = ServerOptions(
        engine=PythonEngine("none"),
        environment={},
        key_file=folder / "key",
        threads=1,
        context=512,
        load_timeout=1,
        wait_timeout=0.05,
    )
    lists = Lists((ExpertSpec("main", (model,)),))
    return ModelServers(
        lists,
        read_lists=lambda: lists,
        inspect=lambda models: dict.fromkeys(models, FileFacts(reason=Reason.MISSING, detail="not there")),
        free_mb=lambda _: 1000,
        options=options,
        clock=FakeClock(),
    )


async def everything(folder: Path, ready: "SimpleQueue[Any]", stop: threading.Event) -> None:
    async with AsyncExitStack() as stack:
        agent = await stack.enter_async_context(
            running_agent(PipecatappSettings(home=folder / "agent", workflows_dir=WORKFLOWS))
        )
        await agent.says(ScriptedAnswer(text="Hello."))
        gateway = await stack.enter_async_context(running_gateway(GatewaySettings(home=folder / "gateway")))
        await gateway.announce("expert-main", 1, model="toy")
        experts = expert_app(idle_model_servers(folder), Metrics())
        experts_url = await stack.enter_async_context(serving(experts))
        urls = {
            "pipecatapp": (agent.url, agent.token),
            "moe_gateway": (gateway.url, "-"),
            "llama_expert": (experts_url, "-"),
        }
        ready.put(urls)
        await asyncio.to_thread(stop.wait)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[str, str]]]:
    """URL and token of one service of every kind, in a thread with an event loop of its own."""
    ready: SimpleQueue[Any] = SimpleQueue()
    stop = threading.Event()
    folder = tmp_path_factory.mktemp("services")
    thread = threading.Thread(target=lambda: asyncio.run(everything(folder, ready, stop)))
    thread.start()
    try:
        yield ready.get(timeout=20)
    finally:
        stop.set()
        thread.join(timeout=20)


def described(url: str, token: str) -> Any:
    """The description that a service gives of itself, as a source of requests to it."""
    schema = schemathesis.openapi.from_dict(httpx.get(f"{url}/openapi.json").json())
    schema.config.update(base_url=url, headers={"authorization": f"Bearer {token}"})
    return schema


@pytest.mark.req("DOC-12")
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
@pytest.mark.parametrize("service", ["pipecatapp", "moe_gateway", "llama_expert"])
def test_every_endpoint_keeps_to_its_description(
    services: Mapping[str, tuple[str, str]], service: str, mode: GenerationMode
) -> None:
    schema = described(*services[service])
    for found in schema.get_all_operations():
        operation = found.ok()
        takes_anything = operation.query or operation.body  # any text is right in a path
        wanted = takes_anything or mode is GenerationMode.POSITIVE
        if wanted and f"{service} {operation.path}" not in LEFT_OUT:
            try_out(operation, mode)


def try_out(operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode) -> None:
    """Ask an endpoint for all kinds of things; `mode` says whether they fit its description."""

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case[Any]) -> None:
        if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
            case.body["model"] = "hearth"  # hardly ever guessed
        response = case.call(timeout=10)
        case.validate_response(response, checks=CHECKS)
        if response.status_code >= 400:
            ErrorAnswer.model_validate(response.json(), extra="forbid")

    ask()
