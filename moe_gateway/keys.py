"""Client keys: kept as SHA-256 hashes, asked for as soon as there are any."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from clusterkit.errors import ConfigFileError
from clusterkit.http.answers import send_error
from clusterkit.http.openai_wire import ApiError
from clusterkit.http.tokens import bearer_of

OPEN_PATHS = frozenset(["/health"])  #: answered without a key


def read_keys(path: Path) -> frozenset[str]:
    """The hashes in `path`, one a line; blank lines and lines that start with # are skipped.

    Raises `ConfigFileError` naming the line that is no SHA-256 in lower-case hex, or when none is there.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigFileError(str(path), 1, 1, f"cannot be read: {error}") from error
    hashes = set()
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        if not re.fullmatch(r"[0-9a-f]{64}", line):
            problem = "expected the SHA-256 of a key as 64 lower-case hexadecimal digits"
            raise ConfigFileError(str(path), number, 1, problem)
        hashes.add(line)
    if not hashes:
        raise ConfigFileError(str(path), 1, 1, "holds no key; expected one SHA-256 a line")
    return frozenset(hashes)


def hash_key(key: str) -> str:
    """What the keys file holds for `key`."""
    return hashlib.sha256(key.encode()).hexdigest()


class KeyGuard:
    """ASGI: answer only to callers whose bearer key is among `hashes`."""

    def __init__(self, app: ASGIApp, hashes: Iterable[str]) -> None:
        """Guard `app`."""
        self._app, self._hashes = app, frozenset(hashes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        # Hashes are compared, so how long a comparison takes tells nothing about a key.
        closed = scope["type"] == "http" and scope["path"] not in OPEN_PATHS
        if closed and hash_key(bearer_of(scope)) not in self._hashes:
            error = ApiError(
                "This gateway asks for a key: send it as 'Authorization: Bearer KEY'.",
                status=401,
                code="invalid_api_key",
            )
            await send_error(send, error)
            return
        await self._app(scope, receive, send)
