"""`hearth ask`: one question to the running Hearth, by the same way as every other client.

Speaks the wire format itself: the official client library takes longer to load than the answer to come.
"""

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from clusterkit.errors import HearthError
from clusterkit.http.tokens import ensure_token
from hearth.control import Control
from hearth.house import House
from moe_gateway.settings import SERVICE as GATEWAY

CONNECT_SECONDS = 5.0


class AskError(HearthError):
    """The question was not answered; the message is what the gateway said."""

    code = "not_answered"


@dataclass(frozen=True)
class Front:
    """A gateway and the key that it asks for."""

    url: str
    key: str = field(repr=False)


async def ask(house: House, text: str, *, model: str, echo: bool, timeout: float) -> str:
    """Ask this machine's Hearth; see `ask_front`. Raises `NotRunningError` as well."""
    return await ask_front(await front_of(house), text, model=model, echo=echo, timeout=timeout)


async def front_of(house: House) -> Front:
    """This machine's gateway. Raises `NotRunningError`."""
    return Front(await Control(house).url_of(GATEWAY), ensure_token(house.home / "secrets", GATEWAY))


async def ask_front(front: Front, text: str, *, model: str, echo: bool, timeout: float) -> str:
    """Ask and return the answer; with `echo` it is also printed as it comes.

    `timeout` is in seconds, between two signs of life. Raises `AskError` when there is no answer.
    """
    url = f"{front.url}/v1/chat/completions"
    headers = {"authorization": f"Bearer {front.key}"} if front.key else {}
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True}
    said: list[str] = []
    limits = httpx.Timeout(timeout, connect=CONNECT_SECONDS)
    try:
        async with (
            httpx.AsyncClient(timeout=limits, trust_env=False) as client,
            client.stream("POST", url, json=body, headers=headers) as answer,
        ):
            async for piece in _pieces(answer):
                said.append(piece)
                if echo:
                    sys.stdout.write(piece)
                    sys.stdout.flush()
    except httpx.TimeoutException as error:
        raise AskError(f"{model!r} did not answer within {timeout:g} s") from error
    except httpx.HTTPError as error:
        raise AskError(f"{url}: {error or type(error).__name__}") from error
    return "".join(said)


async def _pieces(answer: httpx.Response) -> AsyncIterator[str]:
    if answer.is_error:
        raise AskError(_problem(await answer.aread()) or f"the gateway answered {answer.status_code}")
    async for line in answer.aiter_lines():
        data = line.removeprefix("data: ")
        if data == line or data == "[DONE]":
            continue
        event = orjson.loads(data)
        if "error" in event:
            raise AskError(event["error"]["message"])
        for choice in event["choices"]:
            yield choice["delta"].get("content") or ""


def _problem(body: bytes) -> str:
    try:
        error: dict[str, Any] = orjson.loads(body)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
    return str(error.get("message", ""))
