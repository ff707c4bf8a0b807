"""The trace id goes from the first service to the last."""

import asyncio

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from clusterkit.telemetry.tracing import (
    Trace,
    TraceMiddleware,
    child_traceparent,
    current_trace,
    new_trace,
    trace_from,
    use_trace,
)

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE_ID}-{SPAN_ID}-01"


@pytest.mark.parametrize(
    "header",
    [
        VALID,
        f"00-{TRACE_ID}-{SPAN_ID}-00",
        f"  {VALID} ",
        f"cc-{TRACE_ID}-{SPAN_ID}-01",
        f"cc-{TRACE_ID}-{SPAN_ID}-01-what-a-later-version-adds",
    ],
)
def test_a_trace_is_continued_with_a_span_of_its_own(header: str) -> None:
    trace = trace_from(header)
    assert trace.trace_id == TRACE_ID
    assert trace.span_id != SPAN_ID
    assert trace_from(trace.traceparent).trace_id == TRACE_ID


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        VALID.upper(),
        VALID[:-1],
        VALID + "0",
        VALID + "-more",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{TRACE_ID[:-1]}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID[:-1]}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID[:-1]}g-{SPAN_ID}-01",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"0-{TRACE_ID}-{SPAN_ID}-01",
        f"00_{TRACE_ID}_{SPAN_ID}_01",
        f"00-{TRACE_ID}-{SPAN_ID}-zz",
        VALID + "\n" + VALID,
        "\u0660\u0660" + VALID[2:],
    ],
)
def test_a_malformed_header_starts_a_new_trace(header: str | None) -> None:
    trace = trace_from(header)
    assert trace.trace_id != TRACE_ID
    assert trace_from(trace.traceparent).trace_id == trace.trace_id


def test_outside_of_a_request_every_call_starts_a_trace() -> None:
    assert current_trace() is None
    assert child_traceparent()[3:35] != child_traceparent()[3:35]


async def test_tasks_inherit_the_trace_and_do_not_disturb_each_other() -> None:
    async def serve(trace: Trace) -> str:
        use_trace(trace)
        await asyncio.sleep(0)
        return await asyncio.create_task(call())

    async def call() -> str:
        return child_traceparent()

    traces = [new_trace() for _ in range(20)]
    sent = await asyncio.gather(*(serve(trace) for trace in traces))
    assert sent == [trace.traceparent for trace in traces]
    assert current_trace() is None


def client(app: ASGIApp) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(TraceMiddleware(app))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


async def answer_traceparent(scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"x-request-id": Request(scope).headers.get("x-test", "own")}
    await PlainTextResponse(child_traceparent(), headers=headers)(scope, receive, send)


async def test_a_request_continues_its_callers_trace_and_says_so() -> None:
    async with client(answer_traceparent) as http:
        answer = await http.get("/", headers={"traceparent": VALID})
    assert answer.text.startswith(f"00-{TRACE_ID}-")
    assert answer.headers.get_list("x-request-id") == [TRACE_ID]


async def test_requests_without_a_trace_get_one_each() -> None:
    async with client(answer_traceparent) as http:
        answers = [await http.get("/"), await http.get("/", headers={b"traceparent": b"\xff broken"})]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len({*ids}) == 2
    assert [answer.text[3:35] for answer in answers] == ids
