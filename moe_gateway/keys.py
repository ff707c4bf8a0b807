"""Client keys: kept as SHA-256 hashes, asked for as soon as there are any."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from starlette.types import ASGIApp, Scope

from clusterkit.errors import ConfigFileError
from clusterkit.http.guard import Area, Denial, Guard, Way, bearer_of
from clusterkit.http.openai_wire import ApiError
from clusterkit.http.principal import Principal, PrincipalKind

NAME_DIGITS = 12  #: of a key's hash: enough to tell keys apart, and to find the line in the keys file
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


def client_key_way(hashes: Iterable[str]) -> Way:
    """Whoever presents a key whose hash is among `hashes` is that client, named by the hash's beginning."""
    # Hashes are compared, so how long a comparison takes tells nothing about a key.
    clients = {one: Principal(PrincipalKind.CLIENT, one[:NAME_DIGITS]) for one in hashes}

    def recognise(scope: Scope) -> Principal | None:
        return clients.get(hash_key(bearer_of(scope)))

    return recognise


def gateway_guard(app: ASGIApp, ways: Sequence[Way]) -> Guard:
    """Every path but the open ones is for whomever one of `ways` recognises."""
    return Guard(
        app,
        ways=ways,
        areas=[Area("", tuple(PrincipalKind))],
        open_paths=OPEN_PATHS,
        refusal=Denial(
            ApiError(
                "This gateway asks for a key: send it as 'Authorization: Bearer KEY'.",
                status=401,
                code="invalid_api_key",
            )
        ),
    )
