"""One trace id from the first service to the last, carried as W3C `traceparent`.

OpenTelemetry's API reads the header, by the rules of the W3C Recommendation "Trace Context"; spans and their
export are not used.
"""

import secrets
from contextvars import ContextVar
from dataclasses import dataclass

import structlog
from opentelemetry.trace import format_trace_id, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PROPAGATOR = TraceContextTextMapPropagator()

_current: ContextVar["Trace | None"] = ContextVar("hearth_trace", default=None)


@dataclass(frozen=True)
class Trace:
    """The place of this piece of work in a trace."""

    trace_id: str  #: 32 hexadecimal digits, the same in every service
    span_id: str  #: 16 hexadecimal digits, this service's own

    @property
    def traceparent(self) -> str:
        """The header value that names this span as the parent."""
        return f"00-{self.trace_id}-{self.span_id}-01"


def new_trace() -> Trace:
    """A trace that starts here."""
    return Trace(secrets.token_hex(16), secrets.token_hex(8))


def trace_from(header: str | None) -> Trace:
    """Continue the trace of a `traceparent` header, or start one when it is absent or malformed."""
    if not header:
        return new_trace()
    context = _PROPAGATOR.extract({"traceparent": header})
    parent = get_current_span(context).get_span_context()
    return Trace(format_trace_id(parent.trace_id), secrets.token_hex(8)) if parent.is_valid else new_trace()


def current_trace() -> Trace | None:
    """The trace of the request being served, if there is one."""
    return _current.get()


def use_trace(trace: Trace) -> None:
    """Make `trace` the current one of this task and of the tasks it starts; log lines carry its id."""
    _current.set(trace)
    structlog.contextvars.bind_contextvars(trace_id=trace.trace_id)


def child_traceparent() -> str:
    """The `traceparent` to send with an outgoing call."""
    return (current_trace() or new_trace()).traceparent


class TraceMiddleware:
    """ASGI: take or make the trace of each request and answer its id as `x-request-id`."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        header = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
        trace = trace_from(header.decode("latin-1") if header else None)
        use_trace(trace)
        request_id = (b"x-request-id", trace.trace_id.encode())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message.get("headers", []) if pair[0].lower() != b"x-request-id"]
                message = {**message, "headers": [*kept, request_id]}
            await send(message)

        await self._app(scope, receive, send_with_id)
