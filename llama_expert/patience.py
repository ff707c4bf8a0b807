"""A request that has to wait for its model: the client is watched, and told that something happens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from starlette.types import Message, Receive, Send

from llama_expert.model_servers import ModelServers
from llama_expert.server_process import ModelServer

#: A wait that is shorter ends as if there had been none: with its own status and headers.
SILENT_SECONDS = 5.0
_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class ClientLeftError(Exception):
    """The client closed its connection while it waited."""


@asynccontextmanager
async def admitted(
    servers: ModelServers, expert: str, receive: Receive, answer: "PatientAnswer", body: bytes
) -> AsyncIterator[ModelServer]:
    """A model server for one request with `body`, waiting for it where that is needed.

    Raises `ExpertNotReadyError`, `ClientLeftError`.
    """
    lease = servers.try_acquire(expert)
    if lease is None:
        acquiring = asyncio.ensure_future(servers.acquire(expert))
        leaving = asyncio.ensure_future(_until_client_leaves(receive))
        streamed = _wants_stream(body)
        try:
            while not await _one_of(answer.silent_seconds, acquiring, leaving):
                if streamed:
                    await answer.comment(servers.state(expert).detail)
        except BaseException:
            await _give_up(acquiring)
            raise
        finally:
            leaving.cancel()
        if not acquiring.done():
            await _give_up(acquiring)
            raise ClientLeftError
        lease = acquiring.result()
    try:
        yield lease.server
    finally:
        lease.release()


class PatientAnswer:
    """An answer that may begin with comments, as server-sent events have them, while its client waits."""

    def __init__(self, send: Send, silent_seconds: float) -> None:
        """`send` is the client's; so many seconds pass before the first comment and between comments."""
        self._send, self.silent_seconds = send, silent_seconds
        self._began = False
        self._held: list[bytes] | None = None  #: an answer that is no stream, to be told inside of ours

    async def comment(self, text: str) -> None:
        """A sign of life; clients of server-sent events skip lines that begin with a colon."""
        if not self._began:
            self._began = True
            await self._send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS})
        line = b": " + " ".join(text.split()).encode() + b"\n\n"
        await self._send({"type": "http.response.body", "body": line, "more_body": True})

    async def send(self, message: Message) -> None:
        """See ASGI's `send`. After a comment, an answer that is no stream becomes the last event of one."""
        if not self._began:
            await self._send(message)
        elif message["type"] == "http.response.start":
            kinds = [value for name, value in message["headers"] if name == b"content-type"]
            streamed = any(kind.startswith(b"text/event-stream") for kind in kinds)
            self._held = None if streamed else []
        elif self._held is None:
            await self._send(message)
        else:
            self._held.append(message.get("body", b""))
            if not message.get("more_body"):
                event = b"data: " + b"".join(self._held).replace(b"\n", b" ") + b"\n\n"
                await self._send({"type": "http.response.body", "body": event})


async def _until_client_leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _one_of(seconds: float, *tasks: "asyncio.Future[Any]") -> bool:
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


async def _give_up(acquiring: "asyncio.Future[Any]") -> None:
    acquiring.cancel()
    await asyncio.wait({acquiring})
    if not acquiring.cancelled() and acquiring.exception() is None:
        acquiring.result().release()


def _wants_stream(body: bytes) -> bool:
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(request, dict) and request.get("stream") is True
