"""The HTTP side: what every expert is doing, and the way through to its model server."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from clusterkit.clock import Clock
from clusterkit.config.catalogue import SERVICE_PREFIX
from clusterkit.http.answers import send_error
from clusterkit.http.control_app import control_app
from clusterkit.http.headers import Headers
from clusterkit.http.health import Check, Health
from clusterkit.http.openai_wire import CLIENT_LEFT, ApiError
from clusterkit.http.request_body import MAX_BODY_BYTES, read_body
from clusterkit.ports.registry import Instance
from clusterkit.proxy.exchange import UpstreamBroken, UpstreamError, UpstreamRequest
from clusterkit.proxy.forward import Forwarded, forward, upstream_failure
from clusterkit.proxy.upstream import UpstreamPool
from clusterkit.telemetry.metrics import Metrics, exemplar
from clusterkit.telemetry.tracing import child_traceparent
from llama_expert.control import BASE_PATH, expert_routes, unknown_expert
from llama_expert.expert_state import ExpertState
from llama_expert.model_servers import ModelServers
from llama_expert.patience import SILENT_SECONDS, ClientLeftError, PatientAnswer, admitted
from llama_expert.server_process import ModelServer
from llama_expert.tool_calls.layer import ToolCalls
from llama_expert.tool_calls.offered import tools_asked, wants_native_tools
from llama_expert.waiting_line import ExpertNotReadyError

SERVICE = "llama_expert"
RETRY_AFTER_SECONDS = 2.0  #: what a client is told while a model server is coming up
CHAT_PATH = "/v1/chat/completions"
#: The rest of the model server's paths (its slots, its props) are none of the callers' business.
_PROXIED = re.compile(r"/experts/(?P<expert>[a-z][a-z0-9_-]*)(?P<path>/v1(?:/[a-z0-9_-]+)+)")

log = structlog.get_logger()


class ExpertProxy:
    """ASGI: `/experts/NAME/v1/…` goes to NAME's model server, everything else to `control`."""

    def __init__(
        self,
        control: ASGIApp,
        servers: ModelServers,
        *,
        pool: UpstreamPool,
        key: str,
        metrics: Metrics,
        clock: Clock,
        new_id: Callable[[], str],
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        """`key` is what the model servers ask for; `new_id` gives ids that are unique for ever.

        A stream that waits is silent for `silent_seconds`.
        """
        self._silent_seconds = silent_seconds
        self._control, self._servers, self._pool, self._clock = control, servers, pool, clock
        self._new_id = new_id
        self._authorization = b"Bearer " + key.encode()
        self._seconds = metrics.histogram(
            "hearth_expert_request_seconds", "Time to serve a request to an expert.", ("expert", "status")
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        match = _PROXIED.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if match is None:
            await self._control(scope, receive, send)
            return
        began = self._clock.monotonic()
        state = self._state(match["expert"])
        status = 500
        answer = PatientAnswer(send, self._silent_seconds)
        try:
            status = await self._answer(state, match, scope, receive, answer)
        except ClientLeftError:
            status = CLIENT_LEFT
        except ApiError as error:
            status = error.status
            await send_error(answer.send, error)
        finally:
            self._note(state, status, self._clock.monotonic() - began)

    def _state(self, expert: str) -> ExpertState | None:
        try:
            return self._servers.state(expert)
        except KeyError:
            return None

    async def _answer(
        self,
        state: ExpertState | None,
        match: re.Match[str],
        scope: Scope,
        receive: Receive,
        answer: PatientAnswer,
    ) -> int:
        if state is None:
            raise unknown_expert(self._servers, match["expert"])
        body = await read_body(scope, receive, MAX_BODY_BYTES)
        if body is None:
            return CLIENT_LEFT
        try:
            async with admitted(self._servers, state.expert, receive, answer, body) as server:
                request = self._request(server, match["path"], scope, body)
                # The model may have become another one while the request waited.
                now = self._state(state.expert) or state
                done = await self._forward(now, request, scope, receive, answer.send)
        except ExpertNotReadyError as error:
            raise _not_ready(str(error)) from error
        except UpstreamError as error:
            raise self._refusal(state, error) from error
        return CLIENT_LEFT if done.outcome == "client_left" else done.status

    async def _forward(
        self, state: ExpertState, request: UpstreamRequest, scope: Scope, receive: Receive, send: Send
    ) -> Forwarded:
        mode = "native" if state.spec is None else state.spec.tools
        asked = None
        if (
            mode in ("repair", "schema")
            and request.target == CHAT_PATH.encode()
            and b'"tools"' in request.body
        ):
            asked = None if wants_native_tools(scope["headers"]) else tools_asked(request.body)
        if asked is None:
            return await forward(self._pool, request, receive, send)

        async def pass_on(body: bytes, answer: Send) -> Forwarded:
            return await forward(self._pool, replace(request, body=body), receive, answer)

        calls = ToolCalls(asked, state.context, pass_on, send, self._new_id)
        return await (calls.repaired() if mode == "repair" else calls.decided())

    def _refusal(self, state: ExpertState, error: UpstreamError) -> ApiError:
        # A model server that went away before it said anything is being restarted already.
        gone = isinstance(error, UpstreamBroken) and not error.started
        if gone or error.nothing_sent:
            return _not_ready(f"The model server of {state.expert!r} ended; it is being restarted.")
        return upstream_failure(error)

    def _request(self, server: ModelServer, path: str, scope: Scope, body: bytes) -> UpstreamRequest:
        passed: dict[bytes, bytes] = {b"content-type": b"application/json"}
        passed |= {name: value for name, value in scope["headers"] if name in (b"content-type", b"accept")}
        passed[b"authorization"] = self._authorization
        passed[b"traceparent"] = child_traceparent().encode()
        headers: Headers = tuple(passed.items())
        target = path.encode()
        return UpstreamRequest(
            host=server.host,
            port=server.port,
            method=scope["method"],
            target=target,
            headers=headers,
            body=body,
        )

    def _note(self, state: ExpertState | None, status: int, seconds: float) -> None:
        expert = state.expert if state else "unknown"  # never what a caller made up: labels stay few
        self._seconds.labels(expert, str(status)).observe(seconds, exemplar=exemplar())
        model = state.model if state else None
        log.info("expert_request", expert=expert, model=model, status=status, ms=round(seconds * 1000, 2))


def expert_app(servers: ModelServers, metrics: Metrics) -> FastAPI:
    """`/health`, `/metrics` and everything under `/experts` that is not proxied."""

    async def health() -> Health:
        return expert_health(servers)

    app = control_app(SERVICE, health=health, metrics=metrics)

    app.include_router(expert_routes(servers))
    return app


def expert_health(servers: ModelServers) -> Health:
    """Healthy when every expert is served; says by which model."""
    states = servers.states
    checks = tuple(Check(f"expert {state.expert}", state.ready, state.detail) for state in states)
    return Health(checks, {"models": {state.expert: state.model for state in states if state.ready}})


def instances(servers: ModelServers, own_id: str, address: str, port: int) -> tuple[Instance, ...]:
    """What to announce: every expert as a service of its own, with its own health and active model."""
    return tuple(
        Instance(
            service=f"{SERVICE_PREFIX}{state.expert}",
            id=f"{SERVICE_PREFIX}{state.expert}-{own_id}",
            address=address,
            port=port,
            base_path=f"{BASE_PATH}/{state.expert}",
            healthy=state.ready,
            detail=state.detail,
            meta=_meta(state),
        )
        for state in servers.states
    )


def _meta(state: ExpertState) -> Mapping[str, str]:
    waits = {"waits": "true"} if state.waits else {}
    if state.spec is None or not state.ready:
        return waits
    spec = state.spec
    meta = {"model": spec.name, "tools": spec.tools, "context": str(state.context)}
    return {**meta, **waits} if spec.package is None else {**meta, **waits, "built_in": "true"}


def _not_ready(message: str) -> ApiError:
    return ApiError(
        message,
        status=503,
        type="server_error",
        code="expert_not_ready",
        retry_after=RETRY_AFTER_SECONDS,
    )
