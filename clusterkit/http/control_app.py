"""The FastAPI application that every service begins with: health, metrics, errors in one shape."""

from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from clusterkit.errors import HearthError
from clusterkit.http.health import HealthProbe, probe_health
from clusterkit.http.last_resort import unexpected_failure
from clusterkit.http.openai_wire import ApiError, ErrorAnswer
from clusterkit.http.request_body import TOO_LARGE, BodyLimit
from clusterkit.telemetry.metrics import Metrics, MetricsMiddleware

#: How every endpoint answers when it cannot do what it was asked.
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The request cannot be carried out.", "model": ErrorAnswer},
    "5XX": {"description": "The service cannot carry it out now.", "model": ErrorAnswer},
}
UNWELL: dict[str, Any] = {"description": "A check failed.", "model": dict[str, Any]}
METRICS: dict[str, Any] = {"content": {"text/plain": {}, "application/openmetrics-text": {}}}

log = structlog.get_logger()


def control_app(name: str, *, health: HealthProbe, metrics: Metrics) -> FastAPI:
    """A FastAPI application with `/health`, `/metrics` and all errors in OpenAI's shape."""
    # The interactive documentation pages load scripts from another host, so they are off.
    app = FastAPI(title=name, docs_url=None, redoc_url=None, responses=ERRORS)
    app.add_middleware(BodyLimit)
    app.add_middleware(MetricsMiddleware, metrics=metrics)

    @app.get("/health", tags=["operations"], responses={503: UNWELL})
    async def get_health() -> JSONResponse:
        """200 when the service can do its job, else 503 and which check failed."""
        state = await probe_health(health)
        headers = {} if state.ok else {"retry-after": "2"}
        return JSONResponse(state.as_dict(name), 200 if state.ok else 503, headers)

    @app.get("/metrics", tags=["operations"], response_class=Response, responses={200: METRICS})
    async def get_metrics(request: Request) -> Response:
        """Prometheus metrics; OpenMetrics with trace exemplars when asked for."""
        body, content_type = metrics.render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    _handle_errors(app, metrics)
    return app


def _handle_errors(app: FastAPI, metrics: Metrics) -> None:
    async def hearth_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, HearthError)
        if not isinstance(error, ApiError):
            log.warning("request_failed", code=error.code, problem=str(error))
            error = ApiError(str(error), status=500, type="server_error", code=error.code)
        return _render(error)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            message = f"The body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}."
            return _render(ApiError(message, status=400, code="invalid_json"))
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
        message = messages.get(status, str(error.detail))
        response = _render(ApiError(message, status=status, code=codes.get(status)))
        response.headers.update(error.headers or {})
        return response

    async def unexpected(request: Request, error: Exception) -> Response:
        # The route's template, not the path: a label per path would grow without bound.
        metrics.failures.labels(getattr(request.scope.get("route"), "path", "unmatched")).inc()
        log.error("unexpected_failure", path=request.url.path, exc_info=error)
        return _render(unexpected_failure())

    app.add_exception_handler(HearthError, hearth_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)


def _render(error: ApiError) -> Response:
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return Response(error.body, error.status, headers)
