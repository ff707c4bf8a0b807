"""Forwarding one request: bytes, headers, disconnects in every window, and failures told to the client."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from clusterkit.http.answers import send_error
from clusterkit.proxy.exchange import (
    Deadlines,
    UpstreamBroken,
    UpstreamError,
    UpstreamRefused,
    UpstreamRequest,
    UpstreamTimeout,
)
from clusterkit.proxy.forward import (
    Forwarded,
    UpstreamUnavailable,
    end_to_end,
    forward,
    upstream_failure,
)
from clusterkit.proxy.upstream import UpstreamPool
from tests.servers.asgi_server import serving
from tests.servers.raw_upstream import EVENT_STREAM, Behaviour, Exchange, RawUpstream, raw_upstream


@dataclass
class Proxy:
    """A proxy before one upstream, and what became of each request."""

    url: str
    upstream: RawUpstream
    outcomes: list[Forwarded | UpstreamError] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def proxying(behave: Behaviour, deadlines: Deadlines | None = None) -> AsyncIterator[Proxy]:
    pool = UpstreamPool(deadlines)
    async with raw_upstream(behave) as upstream:
        proxy = Proxy("", upstream)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            body = (await receive())["body"]
            request = UpstreamRequest(
                host=upstream.host,
                port=upstream.port,
                method=scope["method"],
                target=scope["raw_path"],
                body=body,
            )
            try:
                outcome = await forward(pool, request, receive, send, extra_headers=((b"x-extra", b"ours"),))
                proxy.outcomes.append(outcome)
            except UpstreamError as error:
                proxy.outcomes.append(error)
                await send_error(send, upstream_failure(error))
            finally:
                proxy.done.set()

        async with serving(app) as proxy.url, asyncio.timeout(10):
            yield proxy
        await pool.close()


async def post(proxy: Proxy, body: bytes = b"{}") -> httpx.Response:
    async with httpx.AsyncClient(timeout=10) as client:
        return await client.post(f"{proxy.url}/path", content=body)


async def test_a_whole_answer_passes_with_its_status_and_headers() -> None:
    async def answer(exchange: Exchange) -> None:
        assert exchange.body == b"question"
        await exchange.answer(
            b'{"a": 1}\n', status=418, headers={"Content-Type": "application/json", "X-Kept": "yes"}
        )

    async with proxying(answer) as proxy:
        response = await post(proxy, b"question")
        assert (response.status_code, response.content) == (418, b'{"a": 1}\n')
        assert response.headers["x-kept"] == "yes"
        assert response.headers["content-length"] == "9"
        assert proxy.outcomes == [Forwarded(status=418, outcome="complete")]


async def test_hop_by_hop_headers_stay_behind() -> None:
    async def answer(exchange: Exchange) -> None:
        headers = {
            "connection": "close, X-Private",
            "x-private": "1",
            "keep-alive": "timeout=5",
            "proxy-authenticate": "Basic",
            "x-extra": "theirs",
            "x-request-id": "theirs",
            "x-public": "2",
        }
        await exchange.answer(b"ok", headers=headers)
        exchange.hang_up()

    async with proxying(answer) as proxy:
        response = await post(proxy)
        assert response.headers["x-public"] == "2"
        assert response.headers.get_list("x-extra") == ["ours"]
        for name in ("x-private", "keep-alive", "proxy-authenticate", "x-request-id"):
            assert name not in response.headers


def test_every_header_named_in_connection_is_dropped() -> None:
    given = [(b"connection", b"A"), (b"connection", b"b , c"), (b"a", b""), (b"c", b""), (b"d", b"")]
    assert end_to_end(given) == [(b"d", b"")]


async def test_a_stream_is_told_not_to_be_cached_or_buffered_and_has_no_length() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.head(
            200, {"content-type": "text/event-stream", "cache-control": "public", "content-length": "9"}
        )
        await exchange.send(b"data: 1\n\n")

    async with proxying(answer) as proxy:
        response = await post(proxy)
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-accel-buffering"] == "no"
        assert "content-length" not in response.headers
        assert response.content == b"data: 1\n\n"


ODD_STREAM = (
    b": warming up\n"
    b"\xef\xbb\xbfdata:no space\n\n"
    b"data: {\"x\": \"\xe2\x82\xac\"}\r\n\r\n"
    b"event: ping\ndata:\n\n"
    b": comment\n\n"
    b"retry: 10\nid: 7\r\n"
    b"data: one\ndata: two\r\rdata: old mac\r\r"
    b"data: [DONE]\n\n"
    b"no newline at the end"
)  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 1000])
async def test_odd_streams_pass_byte_for_byte_however_they_are_split(size: int) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.stream([ODD_STREAM[at : at + size] for at in range(0, len(ODD_STREAM), size)])

    async with proxying(answer) as proxy:
        assert (await post(proxy)).content == ODD_STREAM


async def test_every_event_reaches_the_client_before_the_next_is_made() -> None:
    seen = [asyncio.Event() for _ in range(4)]

    async def answer(exchange: Exchange) -> None:
        await exchange.head(200, EVENT_STREAM)
        for number, event in enumerate(seen):
            await exchange.chunk(b"data: %d\n\n" % number)
            await event.wait()
        await exchange.chunk(b"")

    async with proxying(answer) as proxy, httpx.AsyncClient() as client:
        async with client.stream("POST", proxy.url) as response:
            number = 0
            async for part in response.aiter_raw():
                assert part == b"data: %d\n\n" % number
                seen[number].set()
                number += 1
        assert number == len(seen)


async def test_a_heartbeat_of_a_single_line_is_not_held_back() -> None:
    seen = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.head(200, EVENT_STREAM)
        await exchange.chunk(b": loading\n")
        await seen.wait()
        await exchange.chunk(b"")

    async with (
        proxying(answer) as proxy,
        httpx.AsyncClient() as client,
        client.stream("POST", proxy.url) as response,
    ):
        parts = response.aiter_raw()
        assert await anext(parts) == b": loading\n"
        seen.set()
        assert [part async for part in parts] == []


# The client may leave while the upstream has not begun, in mid-stream, or in the middle of a whole answer.


async def nothing_yet(_: Exchange) -> None:
    pass


async def half_a_stream(exchange: Exchange) -> None:
    await exchange.head(200, EVENT_STREAM)
    await exchange.chunk(b"data: 1\n\n")


async def half_a_body(exchange: Exchange) -> None:
    await exchange.head(200, {"content-type": "application/json", "content-length": "100"})
    await exchange.send(b"{")


@pytest.mark.parametrize("begin", [nothing_yet, half_a_stream, half_a_body])
async def test_a_client_that_leaves_stops_the_upstream_at_once(begin: Behaviour) -> None:
    begun, closed = asyncio.Event(), asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await begin(exchange)
        begun.set()
        await exchange.until_closed()
        closed.set()

    async with proxying(answer) as proxy:
        host, _, port = proxy.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}")
        await begun.wait()
        if begin is half_a_stream:
            await reader.readuntil(b"data: 1")
        writer.close()
        async with asyncio.timeout(1):
            await closed.wait()
            await proxy.done.wait()
        assert [outcome.outcome for outcome in proxy.outcomes if isinstance(outcome, Forwarded)] == [
            "client_left"
        ]


async def test_requests_sent_ahead_on_one_connection_are_answered_in_order() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer(exchange.body)

    async with proxying(answer) as proxy:
        host, _, port = proxy.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for body in (b"one", b"two"):
            writer.write(b"POST /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\n" + body)
        for body in (b"one", b"two"):
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(3) == body
        writer.close()
        await settle(lambda: len(proxy.outcomes) == 2)
        assert [getattr(outcome, "outcome", outcome) for outcome in proxy.outcomes] == ["complete"] * 2


def error_at_the_end(stream: bytes) -> dict[str, object]:
    events = [event for event in stream.replace(b"\r\n", b"\n").split(b"\n\n") if event.strip()]
    error = json.loads(events[-1].strip().removeprefix(b"data: "))["error"]
    assert isinstance(error, dict)
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"", b""),
        (b"data: 1\n\n", b"data: 1\n\n"),
        (b"data: 1\n\ndata: {\"tor", b"data: 1\n\n"),
        (b"data: 1\n\nevent: x\nda", b"data: 1\n\nevent: x\n"),
        (b"data: 1\r\n\r\ndata: 2\r", b"data: 1\r\n\r\ndata: 2\r"),
    ],
)  # fmt: skip
async def test_an_upstream_that_dies_in_mid_stream_becomes_an_error_event(sent: bytes, kept: bytes) -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.head(200, EVENT_STREAM)
        if sent:
            await exchange.chunk(sent)
        exchange.hang_up()

    async with proxying(cut) as proxy:
        response = await post(proxy)
        assert response.content.startswith(kept + b"\n\ndata: ")
        assert b"[DONE]" not in response.content
        assert error_at_the_end(response.content)["code"] == "upstream_broken"
        assert proxy.outcomes == [Forwarded(status=200, outcome="cut")]


async def test_silence_in_mid_stream_becomes_an_error_event() -> None:
    async def stall(exchange: Exchange) -> None:
        await half_a_stream(exchange)
        await exchange.until_closed()

    async with proxying(stall, Deadlines(idle=0.05)) as proxy:
        response = await post(proxy)
        assert error_at_the_end(response.content)["code"] == "upstream_timeout"


async def half_a_body_then_gone(exchange: Exchange) -> None:
    await half_a_body(exchange)
    exchange.hang_up()


async def nonsense(exchange: Exchange) -> None:
    await exchange.send(b"hello?\r\n\r\n")


async def silence(exchange: Exchange) -> None:
    await exchange.until_closed()


async def overloaded(exchange: Exchange) -> None:
    await exchange.answer(b"{}", status=503)


@pytest.mark.parametrize(
    ("behave", "status", "kind"),
    [
        (half_a_body_then_gone, 502, UpstreamBroken),
        (nonsense, 502, UpstreamBroken),
        (silence, 504, UpstreamTimeout),
        (overloaded, 503, UpstreamUnavailable),
    ],
)
async def test_failures_before_the_first_byte_are_clean_errors(
    behave: Behaviour, status: int, kind: type[UpstreamError]
) -> None:
    async with proxying(behave, Deadlines(first_byte=0.05)) as proxy:
        response = await post(proxy)
        assert response.status_code == status
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
        assert isinstance(proxy.outcomes[0], kind)
        assert ("retry-after" in response.headers) == (status == 503)


async def test_an_upstream_that_refuses_has_sent_nothing() -> None:
    async with proxying(overloaded) as proxy:
        proxy.upstream.port = 1
        response = await post(proxy)
        assert response.status_code == 503
        [outcome] = proxy.outcomes
        assert isinstance(outcome, UpstreamRefused)
        assert outcome.nothing_sent


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_stays_without(status: int) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.head(status, {"x-kept": "yes"})

    async with proxying(answer) as proxy:
        response = await post(proxy)
        assert (response.status_code, response.content, response.headers["x-kept"]) == (status, b"", "yes")


async def test_a_storm_of_leaving_clients_leaves_nothing_behind() -> None:
    closed = 0
    all_closed = asyncio.Event()
    count = 200

    async def answer(exchange: Exchange) -> None:
        nonlocal closed
        await half_a_stream(exchange)
        await exchange.until_closed()
        closed += 1
        if closed == count:
            all_closed.set()

    async with proxying(answer) as proxy:
        before = len(asyncio.all_tasks())
        host, _, port = proxy.url.removeprefix("http://").partition(":")

        async def leave_early() -> None:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"POST /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}")
            await reader.readuntil(b"data: 1")
            writer.close()

        await asyncio.gather(*(leave_early() for _ in range(count)))
        async with asyncio.timeout(5):
            await all_closed.wait()
        await settle(lambda: len(proxy.outcomes) == count)
        assert len(asyncio.all_tasks()) <= before + 2


async def settle(ready: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if ready():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not settle")
