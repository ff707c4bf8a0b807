"""The HTTP side: what every expert is doing, and the way through to its model server."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

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
from llama_expert.model_servers import ExpertState, ModelServers
from llama_expert.server_process import ModelServer
from llama_expert.tool_calls.layer import ToolCalls
from llama_expert.tool_calls.offered import tools_asked, wants_native_tools

SERVICE = "llama_expert"
BASE_PATH = "/experts"
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
    ) -> None:
        """`key` is what the model servers ask for; `new_id` gives ids that are unique for ever."""
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
        try:
            status = await self._answer(state, match, scope, receive, send)
        except ApiError as error:
            status = error.status
            await send_error(send, error)
        finally:
            self._note(state, status, self._clock.monotonic() - began)

    def _state(self, expert: str) -> ExpertState | None:
        try:
            return self._servers.state(expert)
        except KeyError:
            return None

    async def _answer(
        self, state: ExpertState | None, match: re.Match[str], scope: Scope, receive: Receive, send: Send
    ) -> int:
        if state is None:
            served = ", ".join(one.expert for one in self._servers.states)
            message = f"There is no expert {match['expert']!r} here (here are: {served})."
            raise ApiError(message, status=404, code="unknown_expert")
        if state.server is None:
            raise _not_ready(state)
        body = await read_body(scope, receive, MAX_BODY_BYTES)
        if body is None:
            return CLIENT_LEFT
        request = self._request(state.server, match["path"], scope, body)
        try:
            done = await self._forward(state, request, scope, receive, send)
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
            return _not_ready(self._servers.state(state.expert))
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
    """`/health`, `/metrics` and `GET /experts`."""

    async def health() -> Health:
        return expert_health(servers)

    app = control_app(SERVICE, health=health, metrics=metrics)

    @app.get(BASE_PATH, tags=["experts"])
    async def get_experts() -> dict[str, list[dict[str, Any]]]:
        """Every expert served here: its active model, and why the models before it were refused."""
        return {"experts": [expert_data(state) for state in servers.states]}

    return app


def expert_health(servers: ModelServers) -> Health:
    """Healthy when every expert is served; says by which model."""
    states = servers.states
    checks = tuple(Check(f"expert {state.expert}", state.ready, state.detail) for state in states)
    return Health(checks, {"models": {state.expert: state.model for state in states if state.ready}})


def expert_data(state: ExpertState) -> dict[str, Any]:
    """One expert as `GET /experts` shows it."""
    server = state.server
    return {
        "expert": state.expert,
        "state": state.state,
        "model": state.model,
        "pid": server.pid if server else None,
        "port": server.port if server else None,
        "restarts": state.restarts,
        "detail": state.detail,
        "refused": [asdict(refusal) for refusal in state.refused],
    }


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
    if state.spec is None or not state.ready:
        return {}
    spec = state.spec
    meta = {"model": spec.name, "tools": spec.tools, "context": str(state.context)}
    return meta if spec.package is None else {**meta, "built_in": "true"}


def _not_ready(state: ExpertState) -> ApiError:
    return ApiError(
        f"The expert {state.expert!r} is not ready: {state.detail or 'its model server is being restarted'}.",
        status=503,
        type="server_error",
        code="expert_not_ready",
        retry_after=RETRY_AFTER_SECONDS,
    )
