"""The agent's web application: the list of its routes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clusterkit.http.control_app import control_app
from clusterkit.http.health import HealthProbe
from clusterkit.telemetry.metrics import Metrics

STATIC = Path(__file__).parent / "static"

#: The page loads nothing from elsewhere and runs no script but its own files.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
PAGE_HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class FreshFiles(StaticFiles):
    """Files that a browser asks about every time, so that a page never meets the script of an older one."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """See `StaticFiles.file_response`."""
        answer = super().file_response(*args, **kwargs)
        answer.headers["cache-control"] = "no-cache"
        return answer


class PageHeaders:
    """ASGI: the headers that keep a page to itself, on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *PAGE_HEADERS]}
            await send(message)

        await self._app(scope, receive, send_with_headers)


def make_app(
    name: str,
    *,
    health: HealthProbe,
    metrics: Metrics,
    routers: Sequence[APIRouter],
) -> FastAPI:
    """The application with the chat page at `/` and `routers` beside it."""
    app = control_app(name, health=health, metrics=metrics)
    app.add_middleware(PageHeaders)
    for router in routers:
        app.include_router(router)

    @app.get("/", include_in_schema=False)
    async def chat_page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    app.mount("/static", FreshFiles(directory=STATIC), name="static")
    return app
