"""Who a request is from, and which paths are for whom."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from clusterkit.http.guard import (
    Area,
    Denial,
    Guard,
    Way,
    local_person_way,
    password_way,
    service_guard,
    service_token_way,
)
from clusterkit.http.openai_wire import ApiError
from clusterkit.http.principal import LOCAL_PERSON, Principal, PrincipalKind, principal_of
from clusterkit.http.tokens import ensure_token
from moe_gateway.__main__ import ways_in
from moe_gateway.keys import gateway_guard, hash_key
from moe_gateway.settings import GatewaySettings
from pipecatapp.web.network import agent_guard

FROM_HERE, FROM_ELSEWHERE = ("127.0.0.1", 40000), ("192.0.2.7", 40000)
BASIC = "Basic " + base64.b64encode(b"anybody:right").decode()


async def who(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers who it was asked by."""
    try:
        answer = str(principal_of(scope))
    except LookupError:
        answer = "nobody"
    await PlainTextResponse(answer)(scope, receive, send)


async def answered(
    guard: Guard, path: str, *, client: tuple[str, int] = FROM_HERE, host: str = "localhost", **headers: str
) -> str:
    """What `who` answers behind `guard`, or the status of the refusal."""
    transport = httpx.ASGITransport(guard, client=client)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:8000") as http:
        answer = await http.get(path, headers=headers)
    return answer.text if answer.status_code == 200 else str(answer.status_code)


@pytest.mark.parametrize(
    ("path", "authorization", "expected"),
    [
        ("/experts/main", "Bearer right", "service"),
        ("/experts/main", "Bearer wrong", "401"),
        ("/health", "Bearer right", "nobody"),
    ],
)
async def test_a_service_is_recognised_by_the_token_where_the_path_asks_for_it(
    path: str, authorization: str, expected: str
) -> None:
    guard = service_guard(who, "right", paths=("/experts",))
    assert await answered(guard, path, authorization=authorization) == expected


@pytest.mark.parametrize(
    ("beyond", "path", "request_", "expected"),
    [
        (False, "/v1/models", {"authorization": "Bearer right"}, "service"),
        (False, "/v1/models", {}, "401"),
        (False, "/v1/models", {"authorization": BASIC}, "401"),
        (False, "/api/chat", {}, "person"),
        (False, "/api/chat", {"authorization": "Bearer right"}, "service"),
        (True, "/v1/models", {"authorization": "Bearer right", "client": FROM_ELSEWHERE}, "service"),
        (True, "/v1/models", {"authorization": BASIC, "client": FROM_ELSEWHERE}, "client:browser"),
        (True, "/v1/models", {}, "401"),
        (True, "/api/chat", {}, "person"),
        (True, "/api/chat", {"authorization": BASIC}, "client:browser"),
        (True, "/api/chat", {"client": FROM_ELSEWHERE}, "401"),
        (True, "/api/chat", {"host": "evil.example"}, "401"),
    ],
)
async def test_the_agent_tells_services_browsers_and_the_person_at_the_machine_apart(
    beyond: bool, path: str, request_: dict[str, Any], expected: str
) -> None:
    guard = agent_guard(who, "right", beyond_loopback=beyond)
    assert await answered(guard, path, **request_) == expected


async def test_the_gateway_names_a_client_by_its_key_s_hash_and_never_by_the_key(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{hash_key('the-laptops-key')}\n{hash_key('the-phones-key')}\n")
    settings = GatewaySettings(home=tmp_path, keys_file=keys)
    guard = gateway_guard(who, ways_in(settings))
    laptop, phone = [
        await answered(guard, "/v1/models", authorization=f"Bearer {key}")
        for key in ("the-laptops-key", "the-phones-key")
    ]
    assert laptop == f"client:{hash_key('the-laptops-key')[:12]}"
    assert phone == f"client:{hash_key('the-phones-key')[:12]}"
    token = ensure_token(settings.secrets_dir, "moe_gateway")
    assert await answered(guard, "/v1/models", authorization=f"Bearer {token}") == "service"
    assert await answered(guard, "/v1/models") == "401"


@pytest.mark.parametrize("path", ["*", "", "v1/models"])
async def test_a_path_without_a_slash_is_in_the_area_of_all_paths(path: str) -> None:
    """`OPTIONS *` has such a path; the client of these tests would put a slash before it."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    guard = gateway_guard(who, [service_token_way("right")])
    await guard({"type": "http", "method": "OPTIONS", "path": path, "headers": []}, receive, send)
    assert sent[0]["status"] == 401


async def test_without_keys_the_gateway_takes_everybody_for_the_person_at_its_machine(tmp_path: Path) -> None:
    guard = gateway_guard(who, ways_in(GatewaySettings(home=tmp_path)))
    assert await answered(guard, "/v1/models", authorization="Bearer anything") == "person"


PERSON, CLIENT, SERVICE = PrincipalKind.PERSON, PrincipalKind.CLIENT, PrincipalKind.SERVICE


def guarded(ways: Sequence[Way], *areas: Area) -> Guard:
    return Guard(who, ways=ways, areas=areas, refusal=Denial(ApiError("no", status=401)))


async def test_the_first_way_that_suits_the_path_counts() -> None:
    both = guarded([local_person_way, service_token_way("right")], Area("", [PERSON, SERVICE]))
    assert await answered(both, "/", authorization="Bearer right") == "person"
    services_only = guarded([local_person_way, service_token_way("right")], Area("", [SERVICE]))
    assert await answered(services_only, "/", authorization="Bearer right") == "service"


async def test_the_first_area_that_a_path_is_in_counts() -> None:
    guard = guarded([password_way("right")], Area("/v1/", [SERVICE]), Area("", [CLIENT]))
    assert await answered(guard, "/v1/models", authorization=BASIC) == "401"
    assert await answered(guard, "/models", authorization=BASIC) == "client:browser"


async def test_an_empty_token_or_password_is_none() -> None:
    guard = guarded([service_token_way("right"), password_way("right")], Area("", [SERVICE, CLIENT]))
    for authorization in ("Bearer", "Bearer ", "Basic", "Basic Og==", "Basic ???", "right"):
        assert await answered(guard, "/", authorization=authorization) == "401"


def test_a_principal_cannot_be_changed_and_says_what_is_known_of_it() -> None:
    assert [str(one) for one in (LOCAL_PERSON, Principal(CLIENT, "ab12"))] == ["person", "client:ab12"]
    with pytest.raises(AttributeError):
        LOCAL_PERSON.name = "root"  # type: ignore[misc]
