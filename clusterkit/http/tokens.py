"""Bearer tokens between services: one file per called service, mode 0600.

On one machine whoever comes first makes them; in a cluster they are handed out, and one that is missing
is an error.
"""

import secrets
from pathlib import Path

from clusterkit.config.settings import ServiceSettings
from clusterkit.errors import HearthError
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
