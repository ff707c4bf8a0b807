"""Bearer tokens between services: one file per called service, made on first use, mode 0600."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from clusterkit.errors import HearthError
from clusterkit.openai_wire import ApiError


class TokenError(HearthError):
    """A token file is unusable: it holds no token, or others than its owner may read it."""

    code = "unusable_token"


def ensure_token(secrets_dir: Path, service: str) -> str:
    """The token that callers of `service` present; made when there is none yet.

    Raises `TokenError` when the file holds no token or is open to group or others.
    """
    path = secrets_dir / f"{service}.token"
    secrets_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        _create(path)
    if path.stat().st_mode & 0o077:
        raise TokenError(f"{path} may be read by others; run: chmod 600 {path}")
    token = path.read_bytes().strip()
    if not token or not token.isascii():
        raise TokenError(f"{path} holds no token; delete it and start Hearth again")
    return token.decode("ascii")


def _create(path: Path) -> None:
    # Written aside and linked into place, so that of two services starting at once one wins
    # and neither ever reads a half-written file.
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(aside, path)
        except FileExistsError:
            return
    finally:
        aside.unlink()


def bearer_of(scope: Scope) -> str:
    """The bearer token of a request, or ''."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if scheme.lower() == "bearer" else ""
    return ""


class BearerGuard:
    """ASGI: paths under `paths` are answered only to callers that present `token`."""

    def __init__(self, app: ASGIApp, token: str, *, paths: Sequence[str]) -> None:
        """Guard every path of `app` that starts with one of `paths`."""
        self._app, self._token, self._paths = app, token.encode(), tuple(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        guarded = scope["type"] == "http" and scope["path"].startswith(self._paths)
        if guarded and not secrets.compare_digest(bearer_of(scope).encode(), self._token):
            error = ApiError(
                "This service answers other services of this Hearth only: present its bearer token.",
                status=401,
                type="authentication_error",
                code="invalid_token",
            )
            await send_error(send, error)
            return
        await self._app(scope, receive, send)


async def send_error(send: Send, error: ApiError) -> None:
    """Answer a raw ASGI request with `error`."""
    await send({"type": "http.response.start", "status": error.status, "headers": error.headers})
    await send({"type": "http.response.body", "body": error.body})
