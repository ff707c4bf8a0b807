"""Health that tells the truth: the checks of a service, and the probe that makes them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clusterkit.errors import HearthError


@dataclass(frozen=True)
class Check:
    """One thing a service needs to do its job."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True)
class Health:
    """How a service is: healthy when every check is ok."""

    checks: tuple[Check, ...]
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the service can do its job now."""
        return all(check.ok for check in self.checks)

    @property
    def detail(self) -> str:
        """What is wrong, or ''."""
        return "; ".join(f"{check.name}: {check.detail}" for check in self.checks if not check.ok)

    def as_dict(self, service: str) -> dict[str, Any]:
        """The body of `/health`."""
        return {
            "service": service,
            "status": "ok" if self.ok else "unavailable",
            "checks": {
                check.name: {"ok": check.ok, **({"detail": check.detail} if check.detail else {})}
                for check in self.checks
            },
            **self.info,
        }


HealthProbe = Callable[[], Awaitable[Health]]


async def probe_health(probe: HealthProbe) -> Health:
    """What `probe` sees now. One that fails is no proof of health: its error is the failed check."""
    try:
        return await probe()
    except HearthError as error:
        return Health((Check(error.code, False, str(error)),))
