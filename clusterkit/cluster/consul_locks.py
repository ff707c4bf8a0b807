"""Locks on Consul: a key held by a session, which ends when nobody renews it."""

from contextlib import suppress

from clusterkit.cluster.agent_http import NotFoundError
from clusterkit.cluster.consul import Consul

SHORTEST_TTL_SECONDS = 10.0  #: Consul knows no session shorter than this
#: Consul's own 15 s would keep a lock from everybody after its holder died; what it guards against, a
#: holder that works on unawares, the ttl of at least 10 s covers for us.
LOCK_DELAY_SECONDS = 0.001


class ConsulLocks:
    """Locks by name and owner; the owner's name is the key's value."""

    def __init__(self, consul: Consul, prefix: str) -> None:
        """Keys lie under `prefix`locks/."""
        self._consul, self._prefix = consul, prefix

    async def acquire(self, name: str, owner: str, *, ttl: float) -> bool:
        """Take or renew a lock; False when another owner holds it."""
        key = self._key(name)
        held = await self._consul.kv_get(key)
        if held is not None and held.session:
            if held.value != owner:
                return False
            # Ours, perhaps from before this process was started anew.
            with suppress(NotFoundError):
                await self._consul.renew_session(held.session)
                return True
        session = await self._consul.create_session(
            f"{name} of {owner}", ttl=max(ttl, SHORTEST_TTL_SECONDS), lock_delay=LOCK_DELAY_SECONDS
        )
        if await self._consul.kv_put(key, owner, acquire=session):
            return True
        await self._consul.destroy_session(session)
        return False

    async def release(self, name: str, owner: str) -> None:
        """Give a lock back if `owner` holds it."""
        held = await self._consul.kv_get(self._key(name))
        if held is not None and held.session and held.value == owner:
            await self._consul.destroy_session(held.session)

    def _key(self, name: str) -> str:
        return f"{self._prefix}locks/{name}"
