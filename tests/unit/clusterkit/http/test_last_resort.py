"""A mistake of ours in a raw application: logged, answered in OpenAI's shape, or the connection breaks."""

import httpx
import pytest
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from clusterkit.http.last_resort import LastResort
from tests.servers.asgi_server import serving


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    """Fails before it answers, or in the middle of its answer."""
    if scope["path"] == "/half":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise RuntimeError("planted")


async def test_a_mistake_before_the_answer_is_a_500_that_tells_nothing() -> None:
    with capture_logs() as logged:
        async with serving(LastResort(broken)) as url, httpx.AsyncClient() as client:
            answer = await client.get(f"{url}/")
    assert answer.status_code == 500
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    assert "planted" not in answer.text
    assert [line["event"] for line in logged] == ["unexpected_failure"]


async def test_a_mistake_in_mid_answer_breaks_the_connection() -> None:
    with capture_logs() as logged:
        async with serving(LastResort(broken)) as url, httpx.AsyncClient() as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(f"{url}/half")
    assert [line["event"] for line in logged] == ["unexpected_failure"]
