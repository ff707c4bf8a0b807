"""What every service has in common: honest health, errors in one shape, a careful listener, an end."""

import asyncio
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from structlog.testing import capture_logs

from clusterkit.clock import SystemClock
from clusterkit.config.settings import ServiceSettings, settings_config
from clusterkit.errors import HearthError, StorageError, StorageFullError
from clusterkit.http.control_app import control_app
from clusterkit.http.health import Check, Health
from clusterkit.http.listener import BindError, listen
from clusterkit.http.openai_wire import ApiError
from clusterkit.http.request_body import MAX_BODY_BYTES
from clusterkit.http.serve import serve
from clusterkit.ports.local_registry import LocalRegistry
from clusterkit.ports.registry import Instance
from clusterkit.telemetry.metrics import Metrics
from clusterkit.telemetry.tracing import TraceMiddleware
from clusterkit.testing import FakeRegistry
from tests.servers.asgi_server import serving
from tests.servers.free_ports import free_ports
from tests.unit.clusterkit.waiting import until, until_async

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}


class ShopSettings(ServiceSettings):
    """Settings of the service of this test."""

    model_config = settings_config("SHOP_")


class Order(BaseModel):
    """A body."""

    count: int


class Needs:
    """Health that a test decides."""

    def __init__(self) -> None:
        self.checks = [Check("model", False, "still loading")]
        self.raises: Exception | None = None

    async def __call__(self) -> Health:
        if self.raises is not None:
            raise self.raises
        return Health(tuple(self.checks), {"model": "tiny"})


def shop(needs: Needs, metrics: Metrics) -> FastAPI:
    app = control_app("shop", health=needs, metrics=metrics)

    @app.post("/orders")
    async def post_order(order: Order) -> dict[str, int]:
        return {"count": order.count}

    @app.get("/fail/{how}")
    async def fail(how: str) -> None:
        if how == "known":
            raise StorageFullError("no room to write shop.db")
        if how == "busy":
            raise ApiError("Come back later.", status=503, code="busy", retry_after=2.4)
        raise KeyError("swordfish in /srv/secret")

    return app


@pytest.fixture
def needs() -> Needs:
    return Needs()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def http(needs: Needs, metrics: Metrics) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(TraceMiddleware(shop(needs, metrics)), raise_app_exceptions=False)
    with capture_logs():
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


@pytest.mark.req("MON-09")
async def test_health_is_503_until_ready_and_whenever_something_needed_is_down(
    http: httpx.AsyncClient, needs: Needs
) -> None:
    loading = await http.get("/health")
    assert loading.status_code == 503
    assert loading.headers["retry-after"] == "2"
    assert loading.json() == {
        "service": "shop",
        "status": "unavailable",
        "checks": {"model": {"ok": False, "detail": "still loading"}},
        "model": "tiny",
    }
    needs.checks = [Check("model", True), Check("registry", True)]
    ready = await http.get("/health")
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")
    assert "retry-after" not in ready.headers
    needs.checks[1] = Check("registry", False, "gone")
    assert (await http.get("/health")).status_code == 503
    needs.raises = StorageError("shop.db: locked")
    unknown = await http.get("/health")
    assert unknown.status_code == 503
    assert unknown.json()["checks"] == {"storage_error": {"ok": False, "detail": "shop.db: locked"}}


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nowhere", b"", 404, "not_found"),
        ("DELETE", "/orders", b"", 405, "method_not_allowed"),
        ("POST", "/orders", b"", 400, "invalid_request_error"),
        ("POST", "/orders", b"{", 400, "invalid_json"),
        ("POST", "/orders", b"count=1", 400, "invalid_json"),
        ("POST", "/orders", b"\xff\xfe{", 400, "invalid_json"),
        ("POST", "/orders", '{"count": "ü"}'.encode("latin-1"), 400, "invalid_json"),
        ("POST", "/orders", b"[" * 100_000, 400, "invalid_json"),
        ("POST", "/orders", b"[]", 400, "invalid_request_error"),
        ("POST", "/orders", b"{}", 400, "invalid_request_error"),
        ("POST", "/orders", b'{"count": "many"}', 400, "invalid_request_error"),
        ("POST", "/orders", b"x" * 10_000_000, 413, "request_too_large"),
        ("GET", "/fail/known", b"", 500, "storage_full"),
        ("GET", "/fail/busy", b"", 503, "busy"),
        ("GET", "/fail/other", b"", 500, "server_error"),
    ],
)  # fmt: skip
async def test_every_error_has_the_one_shape(
    http: httpx.AsyncClient, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    answer = await http.request(method, path, content=body, headers=JSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/json"
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    assert answer.json().keys() == {"error"}


async def test_errors_say_what_a_client_needs(http: httpx.AsyncClient) -> None:
    wrong = (await http.post("/orders", json={"count": "many"})).json()["error"]
    assert wrong["param"] == "count"
    assert wrong["message"].startswith("count: Input should be a valid integer")
    assert (await http.get("/fail/busy")).headers["retry-after"] == "2"
    assert (await http.delete("/orders")).headers["allow"] == "POST"
    assert "/nowhere" in (await http.get("/nowhere")).json()["error"]["message"]


async def test_what_nobody_expected_is_logged_and_counted_and_tells_nothing(
    http: httpx.AsyncClient, metrics: Metrics
) -> None:
    with capture_logs() as logged:
        answer = await http.get("/fail/other")
    assert "swordfish" not in answer.text
    assert "KeyError" not in answer.text
    (entry,) = logged
    assert (entry["event"], entry["path"]) == ("unexpected_failure", "/fail/other")
    assert isinstance(entry["exc_info"], KeyError)
    assert metrics.value("hearth_unexpected_failures_total", {"where": "/fail/{how}"}) == 1


@pytest.mark.parametrize("announced", [True, False])
async def test_a_huge_body_is_refused_over_the_wire(needs: Needs, metrics: Metrics, announced: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 1_000_000

    content: Any = b"x" * 10_000_000 if announced else pieces()
    async with serving(shop(needs, metrics)) as url, httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(f"{url}/orders", content=content, headers=JSON)
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "request_too_large"
        assert str(MAX_BODY_BYTES) in answer.json()["error"]["message"]
        after = await client.post(f"{url}/orders", json={"count": 1})
        assert after.json() == {"count": 1}


async def test_metrics_carry_the_trace_as_exemplar_when_openmetrics_is_asked_for(
    http: httpx.AsyncClient,
) -> None:
    answer = await http.post("/orders", json={"count": 1}, headers=TRACEPARENT)
    assert answer.headers["x-request-id"] == TRACE_ID
    plain = await http.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    assert 'hearth_http_request_seconds_count{path="/orders",status="200"} 1.0' in plain.text
    assert TRACE_ID not in plain.text
    openmetrics = await http.get(
        "/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}
    )
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert re.search(rf'path="/orders",status="200"}} 1.0 # {{trace_id="{TRACE_ID}"}} ', openmetrics.text)
    assert openmetrics.text.endswith("# EOF\n")


async def test_metrics_have_no_label_per_path(http: httpx.AsyncClient) -> None:
    for number in range(5):
        await http.get(f"/fail/{number}")
        await http.get(f"/nowhere/{number}")
    text = (await http.get("/metrics")).text
    assert 'hearth_http_request_seconds_count{path="/fail/{how}",status="500"} 5.0' in text
    assert 'hearth_http_request_seconds_count{path="unmatched",status="404"} 5.0' in text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "hearth.lan"])
def test_nobody_else_is_let_in_without_credentials(host: str) -> None:
    with pytest.raises(BindError, match=rf"SHOP_HOST='{host}' can be reached from other machines"):
        listen(ShopSettings(host=host), "SHOP_", authenticated=False)


@pytest.mark.parametrize(("host", "authenticated"), [("0.0.0.0", True), ("127.0.0.1", False), ("::1", False)])
def test_a_listener_is_opened_where_it_may_be(host: str, authenticated: bool) -> None:
    with listen(ShopSettings(host=host), "SHOP_", authenticated=authenticated) as opened:
        assert opened.getsockname()[0] == host
        assert opened.getsockname()[1] > 0


HOLD = """
import socket, sys
held = socket.create_server(("127.0.0.1", 0))
print(held.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder() -> Iterator[tuple[subprocess.Popen[str], int]]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    yield child, int(child.stdout.readline())
    child.communicate(timeout=30)


def test_a_taken_port_is_named_with_its_holder(holder: tuple[subprocess.Popen[str], int]) -> None:
    child, port = holder
    said = rf"port 127\.0\.0\.1:{port} is taken by process {child.pid} \(.*import socket.*SHOP_PORT"
    with pytest.raises(BindError, match=said):
        listen(ShopSettings(port=port), "SHOP_", authenticated=False)


def test_an_address_that_is_not_here_is_named() -> None:
    with pytest.raises(BindError, match=r"cannot listen on 192\.0\.2\.1:0: "):
        listen(ShopSettings(host="192.0.2.1"), "SHOP_", authenticated=True)
    with pytest.raises(BindError, match=r"cannot listen on no-such-host\.invalid:0: "):
        listen(ShopSettings(host="no-such-host.invalid"), "SHOP_", authenticated=True)


@asynccontextmanager
async def served(needs: Needs, registry: FakeRegistry, **more: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(
        serve(
            more.pop("app", None) or shop(needs, Metrics()),
            name="shop",
            settings=more.pop("settings", ShopSettings()),
            registry=registry,
            health=needs,
            **more,
        )
    )
    try:
        async with asyncio.timeout(30):
            yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def announced(registry: FakeRegistry, *, healthy: bool) -> Instance:
    while True:
        for instance in await registry.instances("shop"):
            if instance.healthy is healthy:
                return instance
        await asyncio.sleep(0)


async def are_announced(registry: FakeRegistry, *paths: str) -> bool:
    return [one.base_path for one in await registry.instances("shop")] == [f"/{path}" for path in paths]


def terminate() -> None:
    signal.raise_signal(signal.SIGTERM)


async def test_a_service_is_announced_with_its_health_and_gone_after_sigterm(needs: Needs) -> None:
    registry = FakeRegistry()
    async with served(needs, registry) as task:
        assert (await announced(registry, healthy=False)).detail in (
            "no heartbeat yet",
            "model: still loading",
        )
        needs.checks = [Check("model", True)]
        instance = await announced(registry, healthy=True)
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{instance.url}/health", headers=TRACEPARENT)
            assert (answer.status_code, answer.headers["x-request-id"]) == (200, TRACE_ID)
            foreign = await client.get(f"{instance.url}/health", headers={"origin": "https://evil.example"})
            assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "foreign_origin")
            assert "x-request-id" in foreign.headers
        terminate()
        await task
    assert await registry.instances() == ()


async def test_a_service_that_is_told_to_end_is_off_the_list_before_it_finishes_what_it_began(
    needs: Needs,
) -> None:
    registry = FakeRegistry()
    needs.checks = [Check("model", True)]
    app, begun, go_on = shop(needs, Metrics()), asyncio.Event(), asyncio.Event()

    @app.get("/slow")
    async def slow() -> dict[str, str]:
        begun.set()
        await go_on.wait()
        return {"said": "after all"}

    async with served(needs, registry, app=app) as task:
        instance = await announced(registry, healthy=True)
        async with httpx.AsyncClient() as client:
            asked = asyncio.create_task(client.get(f"{instance.url}/slow"))
            await begun.wait()
            terminate()
            await until_async(lambda: are_announced(registry))
            assert not asked.done()
            go_on.set()
            assert (await asked).json() == {"said": "after all"}
        await task


async def test_a_registry_that_fails_for_a_moment_ends_nothing(needs: Needs) -> None:
    registry = FakeRegistry()
    async with served(needs, registry) as task:
        await announced(registry, healthy=False)
        registry.fail_next = StorageError("locked")
        await until(lambda: registry.fail_next is None)
        needs.checks = [Check("model", True)]
        await announced(registry, healthy=True)
        terminate()
        await task


async def test_a_service_that_cannot_find_out_how_it_is_counts_as_unhealthy(needs: Needs) -> None:
    registry = FakeRegistry()
    needs.raises = HearthError("the disk is away")
    async with served(needs, registry) as task:
        assert (await announced(registry, healthy=False)) is not None
        needs.raises, needs.checks = None, [Check("model", True)]
        await announced(registry, healthy=True)
        terminate()
        await task


async def test_a_service_whose_heartbeat_dies_ends(needs: Needs) -> None:
    registry = FakeRegistry()
    async with served(needs, registry) as task:
        await announced(registry, healthy=False)
        needs.raises = KeyError("a bug in the probe")
        with pytest.raises(KeyError, match="a bug in the probe"):
            await task
    assert await registry.instances() == ()


async def test_a_service_announces_what_it_is_told_to(needs: Needs) -> None:
    registry = FakeRegistry()
    names = ["main", "math"]

    def instances(address: str, port: int) -> list[Instance]:
        return [
            Instance(service="shop", id=name, address=address, port=port, base_path=f"/{name}", healthy=True)
            for name in names
        ]

    async with served(needs, registry, instances=instances) as task:
        await until_async(lambda: are_announced(registry, "main", "math"))
        names.pop()
        await until_async(lambda: are_announced(registry, "main"))
        terminate()
        await task
    assert await registry.instances() == ()


async def test_a_service_behind_a_proxy_is_known_where_others_reach_it(needs: Needs) -> None:
    registry = FakeRegistry()
    (port,) = free_ports(1)
    settings = ShopSettings(port=port, advertised="192.0.2.7:20123")
    async with served(needs, registry, settings=settings), httpx.AsyncClient() as client:
        instance = await announced(registry, healthy=False)
        answer = await client.get(f"http://127.0.0.1:{port}/metrics", headers={"host": "192.0.2.7:20123"})
        assert answer.status_code == 200
    assert (instance.address, instance.port) == ("192.0.2.7", 20123)


SERVE = """
import asyncio, sys
from pathlib import Path
from clusterkit.clock import SystemClock
from clusterkit.ports.local_registry import LocalRegistry
from clusterkit.telemetry.metrics import Metrics
from clusterkit.http.process import run
from clusterkit.http.control_app import control_app
from clusterkit.http.health import Check, Health
from clusterkit.http.serve import serve
from clusterkit.config.settings import ServiceSettings, load_settings

async def healthy():
    return Health((Check("all", True),))

async def main():
    settings = load_settings(ServiceSettings, home=Path(sys.argv[1]))
    async with LocalRegistry(settings.registry_file, SystemClock()) as registry:
        app = control_app("shop", health=healthy, metrics=Metrics())
        await serve(app, name="shop", settings=settings, registry=registry, health=healthy)

sys.exit(run(main))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_process_that_is_told_to_end_leaves_the_registry_and_exits_with_0(
    tmp_path: Path, number: signal.Signals
) -> None:
    child = subprocess.Popen([sys.executable, "-c", SERVE, str(tmp_path)], stdout=subprocess.DEVNULL)  # noqa: ASYNC220 - it outlives no test
    settings = ServiceSettings(home=tmp_path)
    async with LocalRegistry(settings.registry_file, SystemClock()) as registry, asyncio.timeout(30):
        while not any(instance.healthy for instance in await registry.instances()):
            assert child.poll() is None
        (instance,) = await registry.instances()
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{instance.url}/health")).status_code == 200
        child.send_signal(number)
        assert await asyncio.to_thread(child.wait, 20) == 0
        assert await registry.instances() == ()
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect((instance.address, instance.port))
