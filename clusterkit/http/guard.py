"""The guard of every service: recognises who asks, and refuses whom a path is not for.

Which web page caused a request is another question, which no credentials answer: a browser sends those
by itself. `OriginGuard` stands in front of this one for that.
"""

import base64
import binascii
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from clusterkit.config.settings import is_loopback
from clusterkit.http.answers import send_error
from clusterkit.http.headers import Headers
from clusterkit.http.openai_wire import ApiError
from clusterkit.http.origin_guard import host_name
from clusterkit.http.principal import (
    LOCAL_PERSON,
    SOME_SERVICE,
    Principal,
    PrincipalKind,
    admit,
)

#: A way to recognise who asks; None when this way recognises nobody. It must not tell by its time how
#: much of a secret was right.
Way = Callable[[Scope], Principal | None]


def bearer_of(scope: Scope) -> str:
    """The bearer token of a request, or ''."""
    scheme, credentials = _authorization(scope)
    return credentials.strip() if scheme == "bearer" else ""


def basic_password_of(scope: Scope) -> str:
    """The password of a request's HTTP Basic credentials, whatever the user's name; or ''."""
    scheme, credentials = _authorization(scope)
    if scheme != "basic":
        return ""
    try:
        pair = base64.b64decode(credentials.strip(), validate=True)
    except binascii.Error:
        return ""
    return pair.partition(b":")[2].decode("utf-8", "replace")


def _authorization(scope: Scope) -> tuple[str, str]:
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, credentials = value.decode("latin-1").partition(" ")
            return scheme.lower(), credentials
    return "", ""


def service_token_way(token: str) -> Way:
    """Whoever presents the service's `token` is a service of this Hearth."""
    expected = token.encode()

    def recognise(scope: Scope) -> Principal | None:
        return SOME_SERVICE if secrets.compare_digest(bearer_of(scope).encode(), expected) else None

    return recognise


def password_way(password: str) -> Way:
    """A browser knows no bearer tokens: HTTP Basic with `password` is a client too."""
    expected = password.encode()
    browser = Principal(PrincipalKind.CLIENT, "browser")

    def recognise(scope: Scope) -> Principal | None:
        return browser if secrets.compare_digest(basic_password_of(scope).encode(), expected) else None

    return recognise


def local_person_way(scope: Scope) -> Principal | None:
    """Whoever comes from this machine and reaches the service by this machine's name."""
    # By name as well: a page of the internet whose own name leads to 127.0.0.1 is no visitor from here.
    client = scope.get("client")
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    here = client is not None and is_loopback(client[0]) and is_loopback(host_name(host))
    return LOCAL_PERSON if here else None


def loopback_listener_way(_: Scope) -> Principal | None:
    """Everybody, where the service listens on loopback only: nobody else can reach it."""
    return LOCAL_PERSON


@dataclass(frozen=True)
class Area:
    """Paths that are for some kinds of principals only."""

    prefix: str  #: what the paths start with; '' for all
    kinds: Collection[PrincipalKind]


@dataclass(frozen=True)
class Denial:
    """The answer to those who are not let in."""

    error: ApiError  #: 401
    headers: Headers = ()


class Guard:
    """ASGI: a request passes when a way recognises a principal of a kind that its path is for.

    `principal_of(scope)` tells the application inside who it is. A path that is open, or in no area, is
    answered to everybody and asks nobody who they are.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        ways: Sequence[Way],
        areas: Sequence[Area],
        refusal: Denial,
        open_paths: Collection[str] = (),
    ) -> None:
        """`ways` are tried in order, and the first of the `areas` that a path is in counts."""
        self._app, self._ways, self._refusal = app, tuple(ways), refusal
        self._areas = tuple((area.prefix, frozenset(area.kinds)) for area in areas)
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kinds = self._asks_for(scope)
        if kinds is not None:
            principal = self._recognise(scope, kinds)
            if principal is None:
                await send_error(send, self._refusal.error, self._refusal.headers)
                return
            admit(scope, principal)
        await self._app(scope, receive, send)

    def _asks_for(self, scope: Scope) -> frozenset[PrincipalKind] | None:
        if scope["type"] != "http" or (path := scope["path"]) in self._open:
            return None
        for prefix, kinds in self._areas:
            if path.startswith(prefix):
                return kinds
        return None

    def _recognise(self, scope: Scope, kinds: frozenset[PrincipalKind]) -> Principal | None:
        for way in self._ways:
            principal = way(scope)
            if principal is not None and principal.kind in kinds:
                return principal
        return None


TOKEN_REFUSAL = ApiError(
    "This service answers other services of this Hearth only: present its bearer token.",
    status=401,
    type="authentication_error",
    code="invalid_token",
)


def service_guard(app: ASGIApp, token: str, *, paths: Sequence[str]) -> Guard:
    """Paths that start with one of `paths` are for services that present `token`; all others are open."""
    return Guard(
        app,
        ways=[service_token_way(token)],
        areas=[Area(path, [PrincipalKind.SERVICE]) for path in paths],
        refusal=Denial(TOKEN_REFUSAL, ((b"www-authenticate", b"Bearer"),)),
    )
