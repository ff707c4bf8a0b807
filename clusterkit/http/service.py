"""What every HTTP service has in common: health that tells the truth, metrics, errors in one shape,
a polite refusal to listen where it must not, and its place in the registry.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clusterkit.config.settings import ServiceSettings, address_and_port
from clusterkit.errors import HearthError
from clusterkit.http.answers import send_error
from clusterkit.http.http_server import HttpServer, listen
from clusterkit.http.openai_wire import ApiError, ErrorAnswer
from clusterkit.http.origin_guard import OriginGuard
from clusterkit.http.request_body import TOO_LARGE, BodyLimit
from clusterkit.ports.registry import Instance, Registry
from clusterkit.telemetry.metrics import Metrics, MetricsMiddleware
from clusterkit.telemetry.tracing import TraceMiddleware

HEARTBEAT_SECONDS = 2.0  #: between heartbeats of a healthy service
UNHEALTHY_HEARTBEAT_SECONDS = 0.2  #: while it is not yet healthy, so that others see it come up at once
HEARTBEAT_TTL_SECONDS = 8.0  #: after so long without a heartbeat a service counts as gone

#: How every endpoint answers when it cannot do what it was asked.
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The request cannot be carried out.", "model": ErrorAnswer},
    "5XX": {"description": "The service cannot carry it out now.", "model": ErrorAnswer},
}
UNWELL: dict[str, Any] = {"description": "A check failed.", "model": dict[str, Any]}
METRICS: dict[str, Any] = {"content": {"text/plain": {}, "application/openmetrics-text": {}}}

log = structlog.get_logger()


@dataclass(frozen=True)
class Check:
    """One thing a service needs to do its job."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True)
class Health:
    """How a service is: healthy when every check is ok."""

    checks: tuple[Check, ...]
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the service can do its job now."""
        return all(check.ok for check in self.checks)

    @property
    def detail(self) -> str:
        """What is wrong, or ''."""
        return "; ".join(f"{check.name}: {check.detail}" for check in self.checks if not check.ok)

    def as_dict(self, service: str) -> dict[str, Any]:
        """The body of `/health`."""
        return {
            "service": service,
            "status": "ok" if self.ok else "unavailable",
            "checks": {
                check.name: {"ok": check.ok, **({"detail": check.detail} if check.detail else {})}
                for check in self.checks
            },
            **self.info,
        }


HealthProbe = Callable[[], Awaitable[Health]]
InstanceList = Callable[[str, int], Sequence[Instance]]  #: (address, port) → what to announce now


def control_app(name: str, *, health: HealthProbe, metrics: Metrics) -> FastAPI:
    """A FastAPI application with `/health`, `/metrics` and all errors in OpenAI's shape."""
    # The interactive documentation pages load scripts from another host, so they are off.
    app = FastAPI(title=name, docs_url=None, redoc_url=None, responses=ERRORS)
    app.add_middleware(BodyLimit)
    app.add_middleware(MetricsMiddleware, metrics=metrics)

    @app.get("/health", tags=["operations"], responses={503: UNWELL})
    async def get_health() -> JSONResponse:
        """200 when the service can do its job, else 503 and which check failed."""
        state = await _ask(health)
        headers = {} if state.ok else {"retry-after": "2"}
        return JSONResponse(state.as_dict(name), 200 if state.ok else 503, headers)

    @app.get("/metrics", tags=["operations"], response_class=Response, responses={200: METRICS})
    async def get_metrics(request: Request) -> Response:
        """Prometheus metrics; OpenMetrics with trace exemplars when asked for."""
        body, content_type = metrics.render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    _handle_errors(app, metrics)
    return app


async def _ask(health: HealthProbe) -> Health:
    # A probe that cannot find out is no proof of health.
    try:
        return await health()
    except HearthError as error:
        return Health((Check(error.code, False, str(error)),))


def _handle_errors(app: FastAPI, metrics: Metrics) -> None:
    async def known(_: Request, error: Exception) -> Response:
        assert isinstance(error, HearthError)
        if not isinstance(error, ApiError):
            log.warning("request_failed", code=error.code, problem=str(error))
            error = ApiError(str(error), status=500, type="server_error", code=error.code)
        return _render(error)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            said = f"The body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}."
            return _render(ApiError(said, status=400, code="invalid_json"))
        where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        return _render(ApiError(f"{where}: {first['msg']}", status=400, param=where))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        messages = {
            400: "The body is not JSON in UTF-8, or nested too deeply.",  # the framework's only use of 400
            404: f"There is nothing at {request.url.path}.",
            405: f"{request.method} is not allowed at {request.url.path}.",
        }
        codes = {400: "invalid_json", 404: "not_found", 405: "method_not_allowed", 413: TOO_LARGE}
        status = error.status_code
        made = ApiError(messages.get(status, str(error.detail)), status=status, code=codes.get(status))
        response = _render(made)
        response.headers.update(error.headers or {})
        return response

    async def unexpected(request: Request, error: Exception) -> Response:
        # The route's template, not the path: a label per path would grow without bound.
        metrics.failures.labels(getattr(request.scope.get("route"), "path", "unmatched")).inc()
        log.error("unexpected_failure", path=request.url.path, exc_info=error)
        return _render(_mistake())

    app.add_exception_handler(HearthError, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)


class LastResort:
    """ASGI: what nobody expected, of any application inside, is logged and answered in OpenAI's shape."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        begun = ended = False

        async def watch(message: Message) -> None:
            nonlocal begun, ended
            begun = True
            ended = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:  # the edge of a request: nobody else will see to it
            if ended:
                return  # answered and logged already, by the framework inside
            log.error("unexpected_failure", path=scope.get("path"), exc_info=error)
            if begun:
                raise  # the connection must break, or half an answer would look like a whole one
            await send_error(send, _mistake())


def _mistake() -> ApiError:
    return ApiError("Something went wrong here; the log has it.", status=500, type="server_error")


def _render(error: ApiError) -> Response:
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return Response(error.body, error.status, headers)


async def serve(
    app: ASGIApp,
    *,
    name: str,
    settings: ServiceSettings,
    registry: Registry,
    health: HealthProbe,
    instances: InstanceList | None = None,
    authenticated: bool = False,
    allowed_hosts: Sequence[str] = (),
    at_shutdown: Callable[[], None] | None = None,
) -> None:
    """Run `app` until SIGTERM or SIGINT, announced in the registry.

    `instances` lists what to announce and how healthy each is, asked at every heartbeat; by default
    the service announces itself with the health of `health`. `authenticated` says that every caller
    has to present credentials, which a listener beyond loopback needs. `at_shutdown` ends streams
    that would go on for ever. Raises `BindError`.
    """
    prefix = str(type(settings).model_config.get("env_prefix", ""))
    opened = await asyncio.to_thread(listen, settings, prefix, authenticated=authenticated)
    address, port = opened.getsockname()[:2]
    if settings.advertised is not None:
        address, port = address_and_port(settings.advertised)
    guarded = OriginGuard(app, allowed_hosts=(settings.host, address, *allowed_hosts))
    served = TraceMiddleware(LastResort(guarded))
    server = HttpServer(served, grace_seconds=settings.stop_timeout_s, at_shutdown=at_shutdown)
    own_id = f"{name}-{settings.instance_id}"

    async def announced(state: Health) -> Sequence[Instance]:
        if instances is not None:
            return instances(address, port)
        return [
            Instance(
                service=name, id=own_id, address=address, port=port, healthy=state.ok, detail=state.detail
            )
        ]

    log.info("listening", address=address, port=port)
    beating = asyncio.create_task(_keep_announced(registry, health, announced), name="heartbeat")
    # A service that nobody can find any more ends, so that it is started anew. And one that is told to
    # end is first taken off the list, then finishes what it has begun.
    beating.add_done_callback(lambda _: server.stop())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, beating.cancel)
    try:
        await server.serve(sockets=[opened])
    finally:
        beating.cancel()
        opened.close()
        with suppress(asyncio.CancelledError):
            await beating


async def _keep_announced(
    registry: Registry, health: HealthProbe, announced: Callable[[Health], Awaitable[Sequence[Instance]]]
) -> None:
    known: set[str] = set()
    was: tuple[bool, str] | None = None
    try:
        while True:
            state = await _ask(health)
            if (state.ok, state.detail) != was:
                was = (state.ok, state.detail)
                log.info("health", ok=state.ok, detail=state.detail)
            present = await announced(state)
            try:
                await _announce(registry, present, known)
            except HearthError as error:
                # The registry may be back for the next heartbeat; until then others see us lapse.
                log.warning("heartbeat_failed", code=error.code, problem=str(error))
            settled = state.ok and all(instance.healthy for instance in present)
            await asyncio.sleep(HEARTBEAT_SECONDS if settled else UNHEALTHY_HEARTBEAT_SECONDS)
    finally:
        for instance_id in known:
            try:
                await registry.deregister(instance_id)
            except HearthError as error:
                log.warning("not_deregistered", code=error.code, problem=str(error))


async def _announce(registry: Registry, present: Sequence[Instance], known: set[str]) -> None:
    async def announce(instance: Instance) -> None:
        if instance.id not in known:
            await registry.register(instance, ttl=HEARTBEAT_TTL_SECONDS)
            known.add(instance.id)
        await registry.heartbeat(
            instance.id, healthy=instance.healthy, detail=instance.detail, meta=instance.meta
        )

    # All at once: the local registry then waits for the disk once a beat, not once an instance.
    await asyncio.gather(*(announce(instance) for instance in present))
    for gone in known - {instance.id for instance in present}:
        await registry.deregister(gone)
        known.discard(gone)
