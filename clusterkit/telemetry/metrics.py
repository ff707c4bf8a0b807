"""Prometheus metrics of one service, with trace ids as exemplars."""

import time
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clusterkit.telemetry.tracing import current_trace

#: Seconds. From a cache hit to the slowest model on an old machine.
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


def exemplar() -> dict[str, str] | None:
    """The current trace id in the form that prometheus-client takes as `exemplar=`."""
    trace = current_trace()
    return {"trace_id": trace.trace_id} if trace else None


class Metrics:
    """The metrics registry of one service; never the process-wide default one."""

    def __init__(self) -> None:
        """Create the registry with the process collector and the HTTP metrics all services share."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = self.histogram(
            "hearth_http_request_seconds", "Time to serve an HTTP request.", ("path", "status")
        )
        self.failures = self.counter(
            "hearth_unexpected_failures", "Failures that nobody expected, caught at the edge.", ("where",)
        )

    def counter(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Counter:
        """A counter in this registry."""
        return Counter(name, help_text, labels, registry=self.registry)

    def gauge(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Gauge:
        """A gauge in this registry."""
        return Gauge(name, help_text, labels, registry=self.registry)

    def histogram(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Histogram:
        """A histogram of seconds in this registry."""
        return Histogram(name, help_text, labels, buckets=LATENCY_BUCKETS, registry=self.registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition (body, content type); OpenMetrics with exemplars when `accept` asks for it."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self.registry), content_type

    def value(self, name: str, labels: Mapping[str, str] | None = None) -> float:
        """The present value of a sample, 0 when it was never touched."""
        return self.registry.get_sample_value(name, dict(labels or {})) or 0.0


class MetricsMiddleware:
    """ASGI: time every request that a route of the application answered, by route and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap `app`."""
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        started = time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            # The route's template, not the path: a label per path would grow without bound.
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.requests.labels(route, str(status)).observe(
                time.perf_counter() - started, exemplar=exemplar()
            )
