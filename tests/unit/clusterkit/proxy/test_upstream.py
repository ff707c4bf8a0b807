"""The upstream client: pooling, deadlines, backpressure, and every way an answer can end."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from clusterkit.proxy.exchange import (
    BUFFER_LIMIT,
    Deadlines,
    UpstreamBroken,
    UpstreamRefused,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamTimeout,
)
from clusterkit.proxy.upstream import UpstreamPool
from tests.servers.raw_upstream import EVENT_STREAM, Exchange, RawUpstream, raw_upstream


@asynccontextmanager
async def pool_with(deadlines: Deadlines | None = None) -> AsyncIterator[UpstreamPool]:
    pool = UpstreamPool(deadlines)
    try:
        async with asyncio.timeout(10):
            yield pool
    finally:
        await pool.close()


def asking(upstream: RawUpstream, body: bytes = b"{}", method: str = "POST") -> UpstreamRequest:
    return UpstreamRequest(host=upstream.host, port=upstream.port, method=method, target=b"/x?y=1", body=body)


async def whole(response: UpstreamResponse) -> bytes:
    return b"".join([part async for part in parts(response)])


async def parts(response: UpstreamResponse) -> AsyncIterator[bytes]:
    while part := await response.read():
        yield part


async def echo(exchange: Exchange) -> None:
    await exchange.answer(exchange.body)


async def test_request_and_answer_arrive_whole() -> None:
    async with raw_upstream(echo) as upstream, pool_with() as pool:
        request = UpstreamRequest(
            host=upstream.host,
            port=upstream.port,
            method="POST",
            target=b"/a/b?c=d",
            headers=((b"content-type", b"text/plain"), (b"x-one", b"1")),
            body=b"hello \x00\xff",
        )
        response = await pool.request(request)
        assert response.status == 200
        assert (b"content-length", b"8") in response.headers
        assert await whole(response) == b"hello \x00\xff"
    [seen] = upstream.requests
    assert (seen.method, seen.target, seen.headers["x-one"]) == ("POST", "/a/b?c=d", "1")
    assert seen.headers["host"] == f"{upstream.host}:{upstream.port}"


async def test_one_connection_serves_request_after_request() -> None:
    async with raw_upstream(echo) as upstream, pool_with() as pool:
        for number in range(20):
            body = str(number).encode()
            assert await whole(await pool.request(asking(upstream, body))) == body
        assert upstream.connections == 1


async def test_an_upstream_that_asks_for_close_gets_a_new_connection_each_time() -> None:
    async def once(exchange: Exchange) -> None:
        await exchange.answer(b"bye", headers={"connection": "close"})
        exchange.hang_up()

    async with raw_upstream(once) as upstream, pool_with() as pool:
        for _ in range(3):
            assert await whole(await pool.request(asking(upstream))) == b"bye"
        assert upstream.connections == 3


async def test_chunks_are_handed_on_as_they_come() -> None:
    go_on = asyncio.Event()

    async def slowly(exchange: Exchange) -> None:
        await exchange.head(200, EVENT_STREAM)
        await exchange.chunk(b"first")
        await go_on.wait()
        await exchange.chunk(b"second")
        await exchange.chunk(b"")

    async with raw_upstream(slowly) as upstream, pool_with() as pool:
        response = await pool.request(asking(upstream))
        assert await response.read() == b"first"
        assert not response.complete
        go_on.set()
        assert await whole(response) == b"second"
        assert response.complete


async def test_a_stale_connection_is_replaced_without_the_caller_noticing() -> None:
    async def close_the_second_time(exchange: Exchange) -> None:
        if exchange.connection == 0 and len(upstream.requests) == 2:
            exchange.reset()
            return
        await exchange.answer(exchange.body)

    async with raw_upstream(close_the_second_time) as upstream, pool_with() as pool:
        await whole(await pool.request(asking(upstream, b"1")))
        assert await whole(await pool.request(asking(upstream, b"2"))) == b"2"
        assert [seen.connection for seen in upstream.requests] == [0, 0, 1]


async def test_a_fresh_connection_that_breaks_is_not_tried_again() -> None:
    async def rude(exchange: Exchange) -> None:
        exchange.reset()

    async with raw_upstream(rude) as upstream, pool_with() as pool:
        with pytest.raises(UpstreamBroken) as caught:
            await pool.request(asking(upstream))
        assert not caught.value.started
        assert not caught.value.nothing_sent
        assert len(upstream.requests) == 1


async def test_an_idle_connection_closed_by_the_upstream_is_forgotten() -> None:
    async with raw_upstream(echo) as upstream, pool_with() as pool:
        await whole(await pool.request(asking(upstream)))
        upstream.drop_connections()
        assert await whole(await pool.request(asking(upstream, b"again"))) == b"again"
        assert upstream.connections == 2


async def test_nobody_listening_is_a_refusal() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with pool_with() as pool:
            port = unused.getsockname()[1]
            request = UpstreamRequest(host="127.0.0.1", port=port, method="GET", target=b"/")
            with pytest.raises(UpstreamRefused) as caught:
                await pool.request(request)
            assert caught.value.nothing_sent


async def test_a_connection_that_never_opens_times_out() -> None:
    # A listener whose queue is full answers no further SYN.
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        async with pool_with(Deadlines(connect=0.05)) as pool:
            with pytest.raises(UpstreamTimeout) as caught:
                await pool.request(
                    UpstreamRequest(host="127.0.0.1", port=deaf.getsockname()[1], method="GET", target=b"/")
                )
    assert caught.value.phase == "connect"
    assert caught.value.nothing_sent


async def test_silence_before_the_first_byte_times_out_and_closes_the_connection() -> None:
    closed = asyncio.Event()

    async def silent(exchange: Exchange) -> None:
        await exchange.until_closed()
        closed.set()

    async with raw_upstream(silent) as upstream, pool_with(Deadlines(first_byte=0.05)) as pool:
        with pytest.raises(UpstreamTimeout) as caught:
            await pool.request(asking(upstream))
        assert caught.value.phase == "first_byte"
        await closed.wait()


async def test_silence_in_the_middle_times_out() -> None:
    async def stuck(exchange: Exchange) -> None:
        await exchange.head(200, EVENT_STREAM)
        await exchange.chunk(b"one")
        await exchange.until_closed()

    async with raw_upstream(stuck) as upstream, pool_with(Deadlines(idle=0.05)) as pool:
        response = await pool.request(asking(upstream))
        assert await response.read() == b"one"
        with pytest.raises(UpstreamTimeout) as caught:
            await response.read()
        assert caught.value.phase == "idle"


async def test_a_slow_answer_is_fine_while_bytes_keep_coming() -> None:
    async def steady(exchange: Exchange) -> None:
        await exchange.head(200, EVENT_STREAM)
        for _ in range(6):
            await exchange.pause(0.04)
            await exchange.chunk(b".")
        await exchange.chunk(b"")

    async with raw_upstream(steady) as upstream, pool_with(Deadlines(idle=0.15)) as pool:
        assert await whole(await pool.request(asking(upstream))) == b"......"


async def test_a_slow_reader_makes_the_upstream_wait_and_loses_nothing() -> None:
    piece, pieces = b"x" * 65536, 400
    stuck_at = asyncio.get_running_loop().create_future()

    async def flood(exchange: Exchange) -> None:
        await exchange.head(200, EVENT_STREAM)
        for number in range(pieces):
            exchange.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            try:
                async with asyncio.timeout(0.2):
                    await exchange.writer.drain()
            except TimeoutError:
                stuck_at.set_result(number)
                await exchange.writer.drain()
        await exchange.chunk(b"")

    async with raw_upstream(flood) as upstream, pool_with() as pool:
        response = await pool.request(asking(upstream))
        assert await stuck_at < pieces / 2
        assert response._buffered <= BUFFER_LIMIT + 4 * len(piece)
        assert len(await whole(response)) == pieces * len(piece)


async def test_a_reader_that_stands_still_for_too_long_frees_the_upstream() -> None:
    closed = asyncio.Event()

    async def flood(exchange: Exchange) -> None:
        await exchange.head(200, EVENT_STREAM)
        while not exchange.writer.is_closing():
            await exchange.chunk(b"x" * 65536)
        closed.set()

    async with raw_upstream(flood) as upstream, pool_with(Deadlines(idle=0.1)) as pool:
        response = await pool.request(asking(upstream))
        await closed.wait()
        with pytest.raises(UpstreamTimeout) as caught:
            await whole(response)
        assert caught.value.phase == "consumer"


async def test_abort_closes_the_connection_at_once() -> None:
    closed = asyncio.Event()

    async def endless(exchange: Exchange) -> None:
        await exchange.head(200, EVENT_STREAM)
        await exchange.chunk(b"one")
        await exchange.until_closed()
        closed.set()

    async with raw_upstream(endless) as upstream, pool_with() as pool:
        response = await pool.request(asking(upstream))
        response.abort()
        async with asyncio.timeout(1):
            await closed.wait()
        with pytest.raises(UpstreamBroken):
            await whole(response)


async def test_abort_after_the_end_leaves_the_connection_to_the_next_request() -> None:
    async with raw_upstream(echo) as upstream, pool_with() as pool:
        response = await pool.request(asking(upstream))
        await whole(response)
        response.abort()
        await whole(await pool.request(asking(upstream)))
        assert upstream.connections == 1


async def test_a_cancelled_wait_for_the_head_closes_the_connection() -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def silent(exchange: Exchange) -> None:
        asked.set()
        await exchange.until_closed()
        closed.set()

    async with raw_upstream(silent) as upstream, pool_with() as pool:
        waiting = asyncio.create_task(pool.request(asking(upstream)))
        await asked.wait()
        waiting.cancel()
        async with asyncio.timeout(1):
            await closed.wait()
        with pytest.raises(asyncio.CancelledError):
            await waiting


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-len",
        b"this is not HTTP\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x-pad: " + b"p" * 70_000 + b"\r\n\r\n",
    ],
)
async def test_half_an_answer_or_nonsense_is_broken(wire: bytes) -> None:
    async def say(exchange: Exchange) -> None:
        await exchange.send(wire)
        exchange.hang_up()

    async with raw_upstream(say) as upstream, pool_with() as pool:
        with pytest.raises(UpstreamBroken) as caught:
            await whole(await pool.request(asking(upstream)))
        assert caught.value.started


async def test_what_arrived_before_the_break_is_handed_out_first() -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        exchange.hang_up()

    async with raw_upstream(cut) as upstream, pool_with() as pool:
        response = await pool.request(asking(upstream))
        assert await response.read() == b"half"
        with pytest.raises(UpstreamBroken):
            await response.read()


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold style", b"old style"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b""),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;ext=1\r\nok\r\n0\r\ntrailer: x\r\n\r\n",
            b"ok",
        ),
    ],
)
async def test_every_legal_framing_is_understood(wire: bytes, body: bytes) -> None:
    async def say(exchange: Exchange) -> None:
        for byte in wire:  # split at every place there is
            await exchange.send(bytes([byte]))
        exchange.hang_up()

    async with raw_upstream(say) as upstream, pool_with() as pool:
        response = await pool.request(asking(upstream))
        assert await whole(response) == body
        assert not any(name == b"link" for name, _ in response.headers)


async def test_the_answer_to_head_has_no_body() -> None:
    async def head(exchange: Exchange) -> None:
        await exchange.head(200, {"content-length": "100"})

    async with raw_upstream(head) as upstream, pool_with() as pool:
        response = await pool.request(asking(upstream, b"", "HEAD"))
        assert response.status == 200
        assert await whole(response) == b""


async def test_bytes_that_nobody_asked_for_spoil_the_connection() -> None:
    async def chatty(exchange: Exchange) -> None:
        await exchange.answer(b"ok")
        await exchange.answer(b"unasked")

    async with raw_upstream(chatty) as upstream, pool_with() as pool:
        for _ in range(3):
            assert await whole(await pool.request(asking(upstream))) == b"ok"


@pytest.mark.parametrize(
    "request_parts",
    [
        {"target": b"/x HTTP/1.1\r\nx-evil: 1"},
        {"target": b"/a b"},
        {"headers": ((b"x", b"1\r\nx-evil: 1"),)},
        {"headers": ((b"x", b"1\nx-evil: 1"),)},
        {"method": "GET / HTTP/1.1\r\nx"},
    ],
)
def test_a_request_cannot_smuggle_lines(request_parts: dict[str, object]) -> None:
    fields: dict[str, object] = {"host": "127.0.0.1", "port": 1, "method": "GET", "target": b"/"}
    with pytest.raises(ValueError, match="line break"):
        UpstreamRequest(**{**fields, **request_parts}).encode()  # type: ignore[arg-type]


async def test_many_at_once_each_get_their_own_answer() -> None:
    async with raw_upstream(echo) as upstream, pool_with() as pool:

        async def ask(number: int) -> bytes:
            return await whole(await pool.request(asking(upstream, b"%d" % number)))

        for _ in range(3):
            answers = await asyncio.gather(*(ask(number) for number in range(100)))
            assert answers == [b"%d" % number for number in range(100)]
        assert upstream.connections <= 100
