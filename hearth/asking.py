"""One question to a running Hearth, by the same way as every other client.

Speaks the wire format itself: the official client library takes longer to load than the answer to come.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from clusterkit.errors import HearthError
from clusterkit.proxy.exchange import (
    Deadlines,
    UpstreamError,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamTimeout,
)
from clusterkit.proxy.upstream import UpstreamPool
from hearth.place import FrontDoor

CONNECT_SECONDS = 5.0
LOOK_SECONDS = 2.0  #: without an answer, before it is asked whether a model is loading
PATH = "/v1/chat/completions"
MODELS_PATH = "/v1/models"


class AskError(HearthError):
    """The question was not answered; the message is what the gateway said."""

    code = "not_answered"


def _in_silence(_: str) -> None:
    """Nobody reads along."""


async def ask_gateway(
    door: FrontDoor,
    text: str,
    *,
    model: str,
    timeout: float,
    echo: Callable[[str], None] = _in_silence,
    notice: Callable[[str], None] = _in_silence,
) -> str:
    """Ask and return the answer; `echo` is told each piece of it as it comes.

    `notice` is told what is waited for when no answer begins because a model is loading. `timeout` is in
    seconds, between two signs of life. Raises `AskError` when there is no answer.
    """
    pool = UpstreamPool(Deadlines(connect=CONNECT_SECONDS, first_byte=timeout, idle=timeout))
    pieces: list[str] = []
    watching = asyncio.create_task(_watch_loading(pool, door, model, notice))
    try:
        response = await pool.request(_question(door, text, model))
        try:
            async for piece in _pieces(response):
                watching.cancel()
                pieces.append(piece)
                echo(piece)
        finally:
            response.abort()
    except UpstreamTimeout as error:
        if error.phase == "connect":
            raise AskError(f"{door.url}{PATH}: {error}") from error
        raise AskError(f"{model!r} did not answer within {timeout:g} s") from error
    except UpstreamError as error:
        raise AskError(f"{door.url}{PATH}: {error}") from error
    finally:
        watching.cancel()
        await asyncio.wait({watching})
        await pool.close()
    return "".join(pieces)


async def _watch_loading(
    pool: UpstreamPool, door: FrontDoor, model: str, notice: Callable[[str], None]
) -> None:
    """Until cancelled, tell what the model of that name, or the one that the agent thinks with, waits for."""
    said: set[str] = set()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            response = await pool.request(_request(door, "GET", MODELS_PATH))
            body = await response.read_all()
        except UpstreamError:
            return  # the question itself will tell what is wrong
        listed = orjson.loads(body)["data"] if response.status == 200 else ()
        waited = {one["detail"] for one in listed if one["id"] in (model, "auto") and _is_loading(one)}
        for detail in waited - said:
            notice(f"waiting: {detail}")
        said |= waited


def _is_loading(entry: Mapping[str, Any]) -> bool:
    return entry.get("status") == "loading"


def _question(door: FrontDoor, text: str, model: str) -> UpstreamRequest:
    asked = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True}
    return _request(door, "POST", PATH, orjson.dumps(asked))


def _request(door: FrontDoor, method: str, path: str, body: bytes = b"") -> UpstreamRequest:
    url = urlsplit(door.url)
    assert url.hostname is not None
    headers = [(b"content-type", b"application/json")]
    if door.key:
        headers.append((b"authorization", b"Bearer " + door.key.encode()))
    return UpstreamRequest(
        host=url.hostname,
        port=url.port or 80,
        method=method,
        target=f"{url.path}{path}".encode(),
        headers=headers,
        body=body,
    )


async def _pieces(response: UpstreamResponse) -> AsyncIterator[str]:
    if response.status >= 400:
        problem = problem_of(await response.read_all())
        raise AskError(problem or f"the gateway answered {response.status}")
    async for line in _lines(response):
        data = line.removeprefix(b"data: ")
        if data == line or data == b"[DONE]":
            continue
        event = orjson.loads(data)
        if "error" in event:
            raise AskError(event["error"]["message"])
        for choice in event["choices"]:
            yield choice["delta"].get("content") or ""


async def _lines(response: UpstreamResponse) -> AsyncIterator[bytes]:
    rest = b""
    while part := await response.read():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r")


def problem_of(body: bytes) -> str:
    """The message of an error in OpenAI's shape, or ''."""
    try:
        error: dict[str, Any] = orjson.loads(body)["error"]
        return str(error.get("message", ""))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return ""
