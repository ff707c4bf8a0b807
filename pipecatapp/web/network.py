"""What the agent asks of callers: on its own machine, and once it can be reached from others."""

from starlette.types import ASGIApp

from clusterkit.http.guard import (
    TOKEN_REFUSAL,
    Area,
    Denial,
    Guard,
    local_person_way,
    loopback_listener_way,
    password_way,
    service_token_way,
)
from clusterkit.http.principal import PrincipalKind

OPEN_PATHS = frozenset(["/health", "/metrics"])  #: answered to everybody: they tell nothing private
PERSON, CLIENT, SERVICE = PrincipalKind.PERSON, PrincipalKind.CLIENT, PrincipalKind.SERVICE


def agent_guard(app: ASGIApp, token: str, *, beyond_loopback: bool) -> Guard:
    """`/v1/` is for those who present `token`, all else for a person at this very machine as well.

    Beyond loopback the token may come from a browser, as a password.
    """
    challenge = b'Basic realm="Hearth", charset="UTF-8"' if beyond_loopback else b"Bearer"
    return Guard(
        app,
        ways=[service_token_way(token), password_way(token), local_person_way]
        if beyond_loopback
        else [service_token_way(token), loopback_listener_way],
        areas=[Area("/v1/", [SERVICE, CLIENT]), Area("", [SERVICE, CLIENT, PERSON])],
        open_paths=OPEN_PATHS,
        refusal=Denial(TOKEN_REFUSAL, ((b"www-authenticate", challenge),)),
    )
