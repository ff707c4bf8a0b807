"""The model list and health: truthful, and never at the cost of a model server."""

from pathlib import Path

import pytest

from moe_gateway.settings import GatewaySettings
from tests.servers.gateway import RunningGateway, running_gateway
from tests.servers.raw_upstream import Exchange

SHIPPED = Path(__file__).parents[3] / "group_vars/all/models.yaml"


@pytest.mark.req("GTW-11")
async def test_models_lists_experts_auto_and_the_agent_with_readiness(
    settings: GatewaySettings, models_file: Path
) -> None:
    async with running_gateway(settings.model_copy(update={"models_file": models_file})) as gateway:
        await gateway.announce("expert-main", 1, model="toy.gguf")
        status = {"auto": "ready", "hearth": "down", "main": "ready", "coding": "down"}
        before = (await gateway.client.get("/v1/models")).json()
        assert {entry["id"]: entry["status"] for entry in before["data"]} == status
        await gateway.announce("expert-coding", 2, healthy=False, detail="loading")
        answer = (await gateway.client.get("/v1/models")).json()
        assert answer["object"] == "list"
        assert {entry["id"]: entry["status"] for entry in answer["data"]} == status
        for entry in answer["data"]:
            assert entry["object"] == "model"
            assert isinstance(entry["created"], int)
            assert entry["owned_by"]
        assert (await gateway.client.get("/models")).json() == answer
        main, auto = (
            next(entry for entry in answer["data"] if entry["id"] == name) for name in ("main", "auto")
        )
        assert main["serving"] == "toy.gguf"
        assert auto == {**main, "id": "auto"}


@pytest.mark.req("GTW-11")
async def test_auto_is_the_expert_that_the_settings_name_and_as_ready_as_that(
    settings: GatewaySettings, models_file: Path
) -> None:
    chosen = settings.model_copy(update={"models_file": models_file, "default_expert": "coding"})
    async with running_gateway(chosen) as gateway:
        await gateway.announce("expert-main", 1)
        await gateway.announce("expert-coding", 2, healthy=False, detail="loading")
        auto = (await gateway.client.get("/v1/models/auto")).json()
        assert (auto["service"], auto["status"], auto["detail"]) == ("expert-coding", "down", "loading")


@pytest.mark.req("MOD-10")
async def test_every_expert_of_the_house_is_listed_under_its_service_whether_it_runs_or_not(
    settings: GatewaySettings,
) -> None:
    async with running_gateway(settings.model_copy(update={"models_file": SHIPPED})) as gateway:
        await gateway.announce("expert-math", 1)
        answer = (await gateway.client.get("/v1/models")).json()
    listed = {entry["id"]: (entry["service"], entry["status"]) for entry in answer["data"]}
    for name in ("main", "coding", "extract", "router", "summarization", "translation"):
        assert listed[name] == (f"expert-{name}", "down")
    assert listed["math"] == ("expert-math", "ready")


async def test_one_model_can_be_asked_for(gateway: RunningGateway) -> None:
    await gateway.announce("expert-main", 1, healthy=False, detail="loading")
    entry = (await gateway.client.get("/v1/models/main")).json()
    assert (entry["id"], entry["status"], entry["detail"]) == ("main", "down", "loading")
    missing = await gateway.client.get("/v1/models/org/name")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "model_not_found"
    assert "org/name" in missing.json()["error"]["message"]


async def test_polls_never_touch_a_model_server(gateway: RunningGateway) -> None:
    async def never(exchange: Exchange) -> None:
        raise AssertionError(exchange.target)

    upstream = await gateway.upstream("expert-main", never)
    for path in ("/v1/models", "/v1/models/main", "/models", "/health", "/metrics"):
        assert (await gateway.client.get(path)).status_code == 200
    assert upstream.connections == 0


@pytest.mark.req("MON-09")
async def test_health_is_ok_only_while_an_expert_is(settings: GatewaySettings, models_file: Path) -> None:
    async with running_gateway(settings.model_copy(update={"models_file": models_file})) as gateway:
        unread = await gateway.client.get("/health")
        assert unread.status_code == 503
        assert not unread.json()["checks"]["registry"]["ok"]

        await gateway.view.refresh()
        before = await gateway.client.get("/health")
        assert before.status_code == 503
        assert before.headers["retry-after"]
        assert not before.json()["checks"]["experts"]["ok"]

        instance = await gateway.announce("expert-main", 1)
        during = await gateway.client.get("/health")
        assert during.status_code == 200
        assert during.json()["ready"] == ["main"]
        assert list(during.json()["down"]) == ["coding"]

        await gateway.registry.heartbeat(instance, healthy=False, detail="model server crashed")
        await gateway.view.refresh()
        after = await gateway.client.get("/health")
        assert after.status_code == 503
        assert "model server crashed" in after.text


async def test_the_agent_alone_does_not_make_the_gateway_healthy(gateway: RunningGateway) -> None:
    await gateway.announce("pipecatapp", 1)
    assert (await gateway.client.get("/health")).status_code == 503


async def test_unknown_paths_are_refused_in_the_same_shape(gateway: RunningGateway) -> None:
    response = await gateway.client.get("/v1/nothing")
    assert response.status_code == 404
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


async def test_a_model_that_requests_have_to_wait_for_says_so(gateway: RunningGateway) -> None:
    await gateway.announce("expert-main", 1, healthy=False, detail="toy is starting", waits=True)
    entry = (await gateway.client.get("/v1/models/main")).json()
    assert (entry["status"], entry["detail"]) == ("loading", "toy is starting")
