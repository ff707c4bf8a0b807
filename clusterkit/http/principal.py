"""Who a request is from."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_KEY = "hearth.principal"  #: in the ASGI scope; a client cannot set keys of the scope


class PrincipalKind(StrEnum):
    """What somebody was recognised by."""

    PERSON = "person"  # at this very machine
    CLIENT = "client"  # by a key or password of its own
    SERVICE = "service"  # by the token that services of this Hearth present to each other


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `name` tells those of one kind apart, as far as it is known; it is never the key itself."""

    kind: PrincipalKind
    name: str = ""

    def __str__(self) -> str:
        """As logs and events hold it: `client:5f70bf18`, or `person` where no name is known."""
        return f"{self.kind}:{self.name}" if self.name else self.kind.value


LOCAL_PERSON = Principal(PrincipalKind.PERSON)
SOME_SERVICE = Principal(PrincipalKind.SERVICE)  #: a token says that it is one of ours, not which


def admit(scope: MutableMapping[str, Any], principal: Principal) -> None:
    """Note in the scope of a request who it is from. For guards."""
    scope[_KEY] = principal


def principal_of(scope: Mapping[str, Any]) -> Principal:
    """Who a request is from. Raises `LookupError` where no guard has recognised anybody."""
    principal: Principal | None = scope.get(_KEY)
    if principal is None:
        raise LookupError(f"nobody was recognised for {scope.get('path')!r}: it is open, or has no guard")
    return principal
