"""Keeps web pages of other origins from using services that trust their own machine.

A page on the internet can make a visitor's browser send requests to 127.0.0.1 (cross-site request
forgery) or resolve its own name to 127.0.0.1 (DNS rebinding). The first is refused by the `Origin`
header, the second by the `Host` header.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from clusterkit.config.settings import is_loopback
from clusterkit.http.answers import send_error
from clusterkit.http.openai_wire import ApiError


class OriginGuard:
    """ASGI: refuse requests that a page of another origin caused."""

    def __init__(self, app: ASGIApp, *, allowed_hosts: Sequence[str] = ()) -> None:
        """`allowed_hosts` are accepted beside loopback names; `*` accepts every host."""
        self._app, self._allowed = app, frozenset(host.lower() for host in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        problem = self._problem(scope) if scope["type"] in ("http", "websocket") else None
        if problem is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": problem})
        else:
            await send_error(send, ApiError(problem, status=403, code="foreign_origin"))

    def _problem(self, scope: Scope) -> str | None:
        host, origin = "", None
        for name, value in scope["headers"]:
            if name == b"host":
                host = value.decode("latin-1")
            elif name == b"origin":
                origin = value.decode("latin-1")
        if host and not self._knows(host_name(host)):
            return f"Host {host!r} is not a name of this service; it is reached as localhost or 127.0.0.1."
        if origin is None:
            return None
        same = bool(host) and _netloc(origin) == host.lower()
        return None if same else f"Pages of {origin!r} may not use this service."

    def _knows(self, name: str) -> bool:
        return "*" in self._allowed or is_loopback(name) or name in self._allowed


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def host_name(host: str) -> str:
    """The name in a `Host` header, in lower case and without its port; '' when there is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
