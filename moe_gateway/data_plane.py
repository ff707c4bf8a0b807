"""The proxied path: a raw ASGI application that passes chat requests to experts byte for byte.

It reads `model` of the body and nothing else; no framework, no models and no copies in between.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from prometheus_client import Histogram
from starlette.types import Receive, Scope, Send

from clusterkit.clock import Clock
from clusterkit.http.answers import send_answer, send_error
from clusterkit.http.headers import Headers
from clusterkit.http.openai_wire import CLIENT_LEFT, ApiError
from clusterkit.http.request_body import read_body
from clusterkit.proxy.exchange import UpstreamError, UpstreamRequest
from clusterkit.proxy.forward import Forwarded, UpstreamUnavailable, forward, upstream_failure
from clusterkit.proxy.upstream import UpstreamPool
from clusterkit.telemetry.metrics import Metrics, exemplar
from clusterkit.telemetry.tracing import child_traceparent, current_trace
from moe_gateway.routing import RETRY_AFTER_S, Backend, RoutingTable, Target, in_turn, route

PATHS = frozenset(["/v1/chat/completions"])  #: what the data plane serves

log = structlog.get_logger()


@dataclass(slots=True)
class _Record:
    """What is logged and counted of one request."""

    model: str = "unknown"  #: a name from the routing table, never what a client made up
    service: str = ""
    status: int = 500
    outcome: str = "refused"


class DataPlane:
    """ASGI application for `PATHS`."""

    def __init__(
        self,
        *,
        table: Callable[[], RoutingTable],
        pool: UpstreamPool,
        tokens: Mapping[str, str],
        metrics: Metrics,
        clock: Clock,
        max_body_bytes: int,
    ) -> None:
        """`tokens` maps a target's kind (`agent`, `expert`) to the bearer token its service asks for."""
        self._table, self._pool, self._clock, self._max_body = table, pool, clock, max_body_bytes
        self._authorization = {kind: b"Bearer " + token.encode() for kind, token in tokens.items()}
        self._turn = 0
        self._in_flight = metrics.gauge("hearth_gateway_in_flight", "Chat requests being served.")
        self._seconds = metrics.histogram(
            "hearth_gateway_request_seconds", "Time to serve a chat request.", ("model", "status")
        )
        self._children: dict[tuple[str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        began = self._clock.monotonic()
        record = _Record()
        self._in_flight.inc()
        try:
            await self._answer(scope, receive, send, record)
        except ApiError as error:
            record.status, record.outcome = error.status, error.code
            await send_error(send, error)
        finally:
            self._in_flight.dec()
            self._note(record, self._clock.monotonic() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, record: _Record) -> None:
        if scope["method"] != "POST":
            await _refuse_method(scope, send, record)
            return
        body = await read_body(scope, receive, self._max_body)
        if body is None:
            record.status, record.outcome = CLIENT_LEFT, "client_left"
            return
        name = model_of(body)
        table = self._table()
        named = table.find(name)
        if named is not None:
            record.model, record.service = named.name, named.service
        target = route(table, name)
        headers = self._headers(scope, target)
        try:
            done = await self._try_in_turn(
                in_turn(target, self._turn),
                lambda backend: forward(
                    self._pool,
                    _request(scope, backend, headers, body),
                    receive,
                    send,
                    extra_headers=((b"x-hearth-model", target.service.encode()),),
                ),
            )
        except UpstreamUnavailable as refused:
            record.status, record.outcome = 503, refused.code
            await send_answer(send, 503, _with_retry_after(refused.headers), refused.body)
            return
        except UpstreamError as error:
            raise upstream_failure(error) from error
        record.status = CLIENT_LEFT if done.outcome == "client_left" else done.status
        record.outcome = done.outcome

    async def _try_in_turn(
        self, backends: tuple[Backend, ...], attempt: Callable[[Backend], Awaitable[Forwarded]]
    ) -> Forwarded:
        self._turn += 1
        for backend in backends[:-1]:
            try:
                return await attempt(backend)
            except UpstreamError as error:
                if not error.nothing_sent:
                    raise
                log.warning("instance_refused", service=backend.service, problem=str(error))
        return await attempt(backends[-1])

    def _headers(self, scope: Scope, target: Target) -> Headers:
        # The client's key stays here; the upstream gets the token of its own service.
        passed = {b"content-type": b"application/json"}
        for name, value in scope["headers"]:
            if name in (b"content-type", b"accept", b"x-hearth-tools"):
                passed[name] = value
        passed[b"authorization"] = self._authorization[target.kind]
        passed[b"traceparent"] = child_traceparent().encode()
        trace = current_trace()
        if trace is not None:
            passed[b"x-request-id"] = trace.trace_id.encode()
        return tuple(passed.items())

    def _note(self, record: _Record, seconds: float) -> None:
        key = (record.model, record.status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._seconds.labels(record.model, str(record.status))
        child.observe(seconds, exemplar=exemplar())
        log.info(
            "chat_request",
            model=record.model,
            service=record.service,
            status=record.status,
            outcome=record.outcome,
            ms=round(seconds * 1000, 2),
        )


def model_of(body: bytes) -> str:
    """The `model` of a request body. Raises `ApiError` 400 that says what is wrong with the body."""
    if not body:
        raise _bad_body("The request body is empty; expected a JSON object.")
    try:
        request: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _bad_body(_json_problem(body, error)) from error
    if not isinstance(request, dict):
        raise _bad_body(f"The request body is a JSON {_kind(request)}; expected an object.")
    if "model" not in request:
        raise _bad_body("'model' is missing; GET /v1/models lists what there is.", param="model")
    model = request["model"]
    if not isinstance(model, str):
        raise _bad_body(f"'model' is {_kind(model)}; expected a string.", param="model")
    return model


def _json_problem(body: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return f"The request body is not UTF-8: {wrong.reason} at byte {wrong.start}."
    return f"The request body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."


def _kind(value: Any) -> str:
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


def _bad_body(message: str, *, param: str | None = None) -> ApiError:
    return ApiError(message, status=400, code="invalid_request", param=param)


def _request(scope: Scope, backend: Backend, headers: Headers, body: bytes) -> UpstreamRequest:
    target = backend.base_path.encode() + scope["path"].encode()
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    return UpstreamRequest(
        host=backend.host, port=backend.port, method="POST", target=target, headers=headers, body=body
    )


async def _refuse_method(scope: Scope, send: Send, record: _Record) -> None:
    error = ApiError(
        f"{scope['method']} is not allowed at {scope['path']}; use POST.",
        status=405,
        code="method_not_allowed",
    )
    record.status, record.outcome = error.status, error.code
    await send_error(send, error, [(b"allow", b"POST")])


def _with_retry_after(headers: Headers) -> Headers:
    if any(name == b"retry-after" for name, _ in headers):
        return headers
    return (*headers, (b"retry-after", b"%d" % RETRY_AFTER_S))
