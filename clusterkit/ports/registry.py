"""The registry port: who is there and healthy.

`LocalRegistry` (one machine) and, in a cluster, a Consul-backed one implement it; callers cannot tell.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One running copy of a service."""

    service: str  #: the name that others look up
    id: str  #: unique among all instances
    address: str
    port: int
    base_path: str = ""  #: put before every path of a request to it
    healthy: bool = False  #: its last heartbeat was recent and said so
    detail: str = ""  #: why it is not healthy, or empty
    meta: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The base URL, without a slash at the end."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}{self.base_path}"


class Registry(Protocol):
    """Where services find each other."""

    async def register(self, instance: Instance, *, ttl: float) -> None:
        """Announce `instance`, unhealthy until its first heartbeat; one is due every `ttl` seconds."""
        ...

    async def heartbeat(
        self, instance_id: str, *, healthy: bool, detail: str = "", meta: Mapping[str, str] | None = None
    ) -> None:
        """Renew an instance and say how it is; `meta` replaces the old one when given."""
        ...

    async def deregister(self, instance_id: str) -> None:
        """Forget an instance; unknown ids are ignored."""
        ...

    async def instances(self, service: str | None = None) -> tuple[Instance, ...]:
        """The known instances of `service` (of all services when None), ordered by service and id."""
        ...

    async def wait_for_change(self, index: int, *, timeout: float) -> int:
        """Wait until the registry has changed since `index`, at most `timeout` seconds.

        Returns the present index; index 0 returns at once. A lapsed heartbeat counts as a change.
        """
        ...
