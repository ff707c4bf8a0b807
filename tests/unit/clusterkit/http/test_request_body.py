"""Bodies are read up to a limit and no further."""

from collections.abc import Iterable

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from clusterkit.http.request_body import BodyLimit


async def count_bytes(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


async def ask(parts: Iterable[int], announced: bytes | None = None) -> tuple[list[Message], int]:
    left = list(parts)
    taken = 0
    sent: list[Message] = []

    async def receive() -> Message:
        nonlocal taken
        taken += 1
        body = b"x" * left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [] if announced is None else [(b"content-length", announced)]
    scope: Scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    await BodyLimit(count_bytes, limit=10)(scope, receive, send)
    return sent, taken


@pytest.mark.parametrize("parts", [[], [0], [10], [4, 6], [1] * 10])
async def test_a_body_within_the_limit_is_read(parts: list[int]) -> None:
    sent, _ = await ask(parts or [0], str(sum(parts)).encode())
    assert sent[1]["body"] == str(sum(parts)).encode()


async def test_a_body_announced_as_too_large_is_refused_unread() -> None:
    sent, taken = await ask([11], b"11")
    assert (sent[0]["status"], taken) == (413, 0)
    assert b"larger than 10 bytes" in sent[1]["body"]


@pytest.mark.parametrize("announced", [None, b"5", b"-5", b"many"])
async def test_a_body_that_turns_out_too_large_is_not_read_to_its_end(announced: bytes | None) -> None:
    with pytest.raises(HTTPException) as caught:
        await ask([6, 6, 6, 6], announced)
    assert caught.value.status_code == 413
