"""What the agent asks of callers once it can be reached from other machines."""

from urllib.parse import urlsplit

from starlette.types import Scope

from clusterkit.config.settings import is_loopback

OPEN_PATHS = frozenset(["/health", "/metrics"])  #: answered to everybody: they tell nothing private


def needs_token(scope: Scope) -> bool:
    """Whether a request must present the agent's token. A person at this very machine need not."""
    return scope["path"] not in OPEN_PATHS and not _is_from_here(scope)


def _is_from_here(scope: Scope) -> bool:
    # By name as well: a page of the internet whose own name leads to 127.0.0.1 is no visitor from here.
    client = scope.get("client")
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    return client is not None and is_loopback(client[0]) and is_loopback(_name(host))


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
