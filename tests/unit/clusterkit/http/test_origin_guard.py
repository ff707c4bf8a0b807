"""Pages of other origins cannot use a service that trusts its own machine."""

from collections.abc import Sequence
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message

from clusterkit.http.origin_guard import OriginGuard


async def sent_for(
    host: str | None, origin: str | None, allowed: Sequence[str] = (), kind: str = "http"
) -> list[Message]:
    pairs = [(b"host", host), (b"origin", origin)]
    headers = [(name, value.encode("latin-1")) for name, value in pairs if value is not None]
    scope: dict[str, Any] = {"type": kind, "method": "POST", "path": "/", "headers": headers}
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    await OriginGuard(PlainTextResponse("in"), allowed_hosts=allowed)(scope, receive, send)
    return sent


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8000", None),
        ("LocalHost:8000", None),
        ("127.0.0.1:8000", None),
        ("127.8.9.1", None),
        ("[::1]:8000", None),
        ("[::1]", None),
        (None, None),
        ("localhost:8000", "http://localhost:8000"),
        ("localhost:8000", "http://LOCALHOST:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
    ],
)
async def test_own_pages_and_programs_get_in(host: str | None, origin: str | None) -> None:
    start, _ = await sent_for(host, origin)
    assert start["status"] == 200


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8000", "https://evil.example"),
        ("localhost:8000", "null"),
        ("localhost:8000", ""),
        ("localhost:8000", "http://localhost:9999"),
        ("localhost:8000", "http://localhost"),
        ("localhost:8000", "http://localhost:8000.evil.example"),
        ("localhost:8000", "http://localhost:8000@evil.example"),
        ("localhost:8000", "http://evil.example/localhost:8000"),
        ("localhost:8000", "http://["),
        ("localhost:8000", "localhost:8000"),
        ("localhost:8000", "http://localhost:8000 http://evil.example"),
        (None, "https://evil.example"),
        (None, ""),
        (None, "null"),
        (None, "file:"),
    ],
)
async def test_a_page_of_another_origin_is_refused(host: str | None, origin: str) -> None:
    start, body = await sent_for(host, origin)
    assert start["status"] == 403
    assert b'"code":"foreign_origin"' in body["body"]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1:8000",
        "0.0.0.0:8000",
        "[fe80::1]",
        "[",
        ":8000",
        "@localhost.evil.example",
        "\xff",
        " ",
    ],
)
async def test_a_name_that_was_made_to_point_here_is_refused(host: str) -> None:
    for origin in (None, f"http://{host}"):
        start, _ = await sent_for(host, origin)
        assert start["status"] == 403


async def test_hosts_that_were_allowed_get_in_and_others_do_not() -> None:
    for host in ("hearth.lan:8000", "HEARTH.lan"):
        assert (await sent_for(host, None, ["Hearth.LAN"]))[0]["status"] == 200
    assert (await sent_for("other.lan", None, ["hearth.lan"]))[0]["status"] == 403
    assert (await sent_for("other.lan", None, ["*"]))[0]["status"] == 200
    assert (await sent_for("other.lan", "https://evil.example", ["*"]))[0]["status"] == 403


async def test_a_foreign_websocket_is_closed() -> None:
    (closed,) = await sent_for("localhost", "https://evil.example", kind="websocket")
    assert (closed["type"], closed["code"]) == ("websocket.close", 1008)
