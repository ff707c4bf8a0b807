"""Bearer tokens between services: one file per called service, mode 0600.

On one machine whoever comes first makes them; in a cluster they are handed out, and one that is missing
is an error.
"""

import base64
import binascii
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from clusterkit.config.settings import ServiceSettings
from clusterkit.errors import HearthError
from clusterkit.http.answers import send_error
from clusterkit.http.openai_wire import ApiError
from clusterkit.storage.files import write_whole


class TokenError(HearthError):
    """A token file is unusable: it holds no token, or others than its owner may read it."""

    code = "unusable_token"


def service_token(settings: ServiceSettings, service: str) -> str:
    """The token that callers of `service` present here. Raises `TokenError`."""
    path = _token_file(settings.secrets_dir, service)
    if settings.consul_url is not None and not path.exists():
        raise TokenError(f"{path} is missing; whoever starts this service in a cluster puts it there")
    return ensure_token(settings.secrets_dir, service)


def ensure_token(secrets_dir: Path, service: str) -> str:
    """The token that callers of `service` present; made when there is none yet.

    Raises `TokenError` when the file holds no token or is open to group or others.
    """
    path = _token_file(secrets_dir, service)
    secrets_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        write_whole(path, secrets.token_urlsafe(32).encode() + b"\n", mode=0o600, replace=False)
    if path.stat().st_mode & 0o077:
        raise TokenError(f"{path} may be read by others; run: chmod 600 {path}")
    token = path.read_bytes().strip()
    if not token or not token.isascii():
        raise TokenError(f"{path} holds no token; delete it and start Hearth again")
    return token.decode("ascii")


def _token_file(secrets_dir: Path, service: str) -> Path:
    return secrets_dir / f"{service}.token"


def bearer_of(scope: Scope) -> str:
    """The bearer token of a request, or ''."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if scheme.lower() == "bearer" else ""
    return ""


def basic_password_of(scope: Scope) -> str:
    """The password of a request's HTTP Basic credentials, whatever the user's name; or ''."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, credentials = value.decode("latin-1").partition(" ")
            if scheme.lower() != "basic":
                return ""
            try:
                pair = base64.b64decode(credentials.strip(), validate=True)
            except binascii.Error:
                return ""
            return pair.partition(b":")[2].decode("utf-8", "replace")
    return ""


class BearerGuard:
    """ASGI: guarded paths are answered only to callers that present `token`."""

    def __init__(
        self,
        app: ASGIApp,
        token: str,
        *,
        paths: Sequence[str],
        beyond: Callable[[Scope], bool] | None = None,
    ) -> None:
        """Guard every path of `app` that starts with one of `paths`.

        Requests for which `beyond` says so are guarded as well. Those may be a browser's, which knows no
        bearer tokens: HTTP Basic with the token as its password is as good then.
        """
        self._app, self._token, self._paths, self._beyond = app, token.encode(), tuple(paths), beyond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and self._is_guarded(scope) and not self._presents_token(scope):
            error = ApiError(
                "This service answers other services of this Hearth only: present its bearer token.",
                status=401,
                type="authentication_error",
                code="invalid_token",
            )
            scheme = b"Bearer" if self._beyond is None else b'Basic realm="Hearth", charset="UTF-8"'
            await send_error(send, error, ((b"www-authenticate", scheme),))
            return
        await self._app(scope, receive, send)

    def _is_guarded(self, scope: Scope) -> bool:
        by_path: bool = scope["path"].startswith(self._paths)
        return by_path or (self._beyond is not None and self._beyond(scope))

    def _presents_token(self, scope: Scope) -> bool:
        presented = [bearer_of(scope)]
        if self._beyond is not None:
            presented.append(basic_password_of(scope))
        return any([secrets.compare_digest(one.encode(), self._token) for one in presented])
