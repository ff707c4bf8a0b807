"""The HTTP side of the model servers, without any."""

import httpx
import pytest

from clusterkit.config.catalogue import ExpertSpec, ModelSpec
from clusterkit.http.guard import service_guard
from clusterkit.proxy.upstream import UpstreamPool
from clusterkit.telemetry.metrics import Metrics
from clusterkit.testing import FakeClock
from llama_expert.app import ExpertProxy, expert_app, expert_health, instances
from llama_expert.choose import FileFacts, Reason
from llama_expert.engines.engine import PythonEngine
from llama_expert.kept_server import ServerOptions
from llama_expert.lists import Lists
from llama_expert.model_servers import ModelServers

CHAT = "/experts/main/v1/chat/completions"


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> ModelServers:
    """One that was never run: nothing is ready."""
    model = ModelSpec(name="m", url="file:///m", filename="m.gguf", memory_mb=1)
    lists = Lists((ExpertSpec("main", (model,)), ExpertSpec("coding", (model,))))
    return ModelServers(
        lists,
        read_lists=lambda: lists,
        inspect=lambda models: dict.fromkeys(models, FileFacts(reason=Reason.MISSING, detail="not there")),
        free_mb=lambda _: 1000,
        options=ServerOptions(
            engine=PythonEngine("none"),
            environment={},
            key_file=tmp_path_factory.mktemp("key") / "key",
            threads=1,
            context=512,
            load_timeout=1,
            wait_timeout=0.05,
        ),
        clock=FakeClock(),
    )


@pytest.fixture
def client(servers: ModelServers) -> httpx.AsyncClient:
    metrics = Metrics()
    proxy = ExpertProxy(
        expert_app(servers, metrics),
        servers,
        pool=UpstreamPool(),
        key="k",
        metrics=metrics,
        clock=FakeClock(),
        new_id=lambda: "1",
    )
    transport = httpx.ASGITransport(service_guard(proxy, "t", paths=("/experts",)))
    return httpx.AsyncClient(
        transport=transport, base_url="http://experts", headers={"authorization": "Bearer t"}
    )


@pytest.mark.req("MON-09")
async def test_health_is_503_while_no_model_server_is_ready(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["checks"]["expert main"] == {"ok": False, "detail": "choosing a model"}


async def test_a_request_to_an_expert_that_is_not_ready_is_asked_to_come_back(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post(CHAT, json={})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["error"]["code"] == "expert_not_ready"


async def test_an_unknown_expert_is_refused_with_the_known_ones(client: httpx.AsyncClient) -> None:
    answer = await client.post("/experts/poetry/v1/chat/completions", json={})
    assert answer.status_code == 404
    assert "here are: main, coding" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "path",
    ["/experts/main/slots", "/experts/main/v1/../slots", "/experts/main/v1/", "/experts/main/v1/%2e%2e/x"],
)
async def test_only_the_openai_paths_of_a_model_server_can_be_reached(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("path", ["/experts", CHAT])
async def test_callers_without_the_token_are_turned_away(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path, headers={"authorization": "Bearer wrong"})
    assert answer.status_code == 401


async def test_the_list_of_experts_tells_how_each_one_is(client: httpx.AsyncClient) -> None:
    experts = (await client.get("/experts")).json()["experts"]
    assert [(one["expert"], one["state"], one["model"]) for one in experts] == [
        ("main", "starting", None),
        ("coding", "starting", None),
    ]


def test_every_expert_is_announced_as_a_service_of_its_own(servers: ModelServers) -> None:
    announced = instances(servers, "x1", "127.0.0.1", 99)
    assert [(one.service, one.id, one.url) for one in announced] == [
        ("expert-main", "expert-main-x1", "http://127.0.0.1:99/experts/main"),
        ("expert-coding", "expert-coding-x1", "http://127.0.0.1:99/experts/coding"),
    ]
    assert not any(one.healthy for one in announced)
    assert not expert_health(servers).ok
