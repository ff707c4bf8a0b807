"""What the agent asks of callers once it listens where other machines can reach it."""

import base64
from collections.abc import AsyncIterator

import httpx
import pytest

from clusterkit.http.origin_guard import OriginGuard
from tests.servers.agent import RunningAgent
from tests.unit.pipecatapp.web.conftest import MakeAgent

FROM_ELSEWHERE = ("192.0.2.7", 40000)
FROM_HERE = ("127.0.0.1", 40000)


@pytest.fixture
async def open_agent(make_agent: MakeAgent) -> AsyncIterator[RunningAgent]:
    async with make_agent(host="0.0.0.0") as running:
        yield running


async def status(
    agent: RunningAgent,
    path: str,
    *,
    client: tuple[str, int] = FROM_ELSEWHERE,
    host: str = "agent.home",
    **headers: str,
) -> int:
    """The status of a request as it would come over the network, the origin guard in front."""
    transport = httpx.ASGITransport(OriginGuard(agent.agent.app, allowed_hosts=("*",)), client=client)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:8000") as http:
        return (await http.get(path, headers=headers)).status_code


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


@pytest.mark.parametrize("path", ["/", "/static/chat.js", "/api/nodes", "/v1/models", "/openapi.json"])
async def test_without_the_token_nothing_is_told_to_other_machines(
    open_agent: RunningAgent, path: str
) -> None:
    assert await status(open_agent, path) == 401
    assert await status(open_agent, path, authorization="Bearer wrong") == 401
    assert await status(open_agent, path, authorization=basic("wrong")) == 401
    assert await status(open_agent, path, authorization=basic("")) == 401
    assert await status(open_agent, path, authorization="Basic ???") == 401
    for credentials in (f"Bearer {open_agent.token}", basic(open_agent.token)):
        assert await status(open_agent, path, authorization=credentials) not in (401, 403)


async def test_health_and_metrics_are_told_to_everybody(open_agent: RunningAgent) -> None:
    assert await status(open_agent, "/health") == 503  # no gateway in this test
    assert await status(open_agent, "/metrics") == 200


async def test_a_browser_is_told_how_to_ask_its_user(open_agent: RunningAgent) -> None:
    transport = httpx.ASGITransport(open_agent.agent.app, client=FROM_ELSEWHERE)
    async with httpx.AsyncClient(transport=transport, base_url="http://agent.home") as http:
        answer = await http.get("/")
    assert answer.headers["www-authenticate"] == 'Basic realm="Hearth", charset="UTF-8"'
    assert open_agent.token not in answer.text


async def test_a_person_at_this_machine_needs_no_token_for_the_pages(open_agent: RunningAgent) -> None:
    assert await status(open_agent, "/", client=FROM_HERE, host="localhost") == 200
    assert await status(open_agent, "/", client=FROM_HERE, host="127.0.0.1") == 200
    assert await status(open_agent, "/v1/models", client=FROM_HERE, host="localhost") == 401


async def test_a_foreign_name_that_leads_to_this_machine_opens_nothing(open_agent: RunningAgent) -> None:
    assert await status(open_agent, "/", client=FROM_HERE, host="evil.example") == 401
    assert await status(open_agent, "/", client=FROM_ELSEWHERE, host="localhost") == 401


async def test_pages_of_other_origins_are_refused_even_with_a_browsers_credentials(
    open_agent: RunningAgent,
) -> None:
    known = basic(open_agent.token)
    assert await status(open_agent, "/", authorization=known, origin="http://evil.example") == 403
    assert await status(open_agent, "/", authorization=known, origin="http://agent.home:8000") == 200


async def test_on_loopback_the_pages_stay_open_and_basic_is_no_key(agent: RunningAgent) -> None:
    assert await status(agent, "/", client=FROM_HERE, host="localhost") == 200
    assert (
        await status(
            agent, "/v1/models", client=FROM_HERE, host="localhost", authorization=basic(agent.token)
        )
        == 401
    )
