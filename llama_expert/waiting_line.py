"""The line of requests that wait for a model: first come, first served, bounded."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from clusterkit.errors import HearthError
from llama_expert.server_process import ModelServer


class ExpertNotReadyError(HearthError):
    """No model became ready for a request in time, or none can be used."""

    code = "expert_not_ready"


class Lease:
    """A request's right to a model server, which does not end for another before it is released."""

    def __init__(self, server: ModelServer, release: Callable[[], None]) -> None:
        """`release` is to be called once."""
        self.server, self.release = server, release


@dataclass(frozen=True, eq=False)
class Waiter:
    """One request; `order` grows from each to the next."""

    expert: str
    order: int
    admitted: "asyncio.Future[Lease]"


class WaitingLine:
    """Requests in the order in which they came."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """`changed` is called when somebody comes or goes."""
        self._changed = changed
        self._waiters: list[Waiter] = []
        self._order = itertools.count()

    @property
    def waiters(self) -> tuple[Waiter, ...]:
        """Those who wait, first come first."""
        return tuple(self._waiters)

    def next_order(self) -> int:
        """A place behind everybody who waits now."""
        return next(self._order)

    def count(self, expert: str) -> int:
        """How many wait for `expert`."""
        return sum(waiter.expert == expert for waiter in self._waiters)

    async def wait(self, expert: str, seconds: float) -> Lease:
        """Wait until admitted. Raises TimeoutError, and what `refuse` was given."""
        waiter = Waiter(expert, self.next_order(), asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._changed()
        try:
            async with asyncio.timeout(seconds):
                return await waiter.admitted
        except (asyncio.CancelledError, TimeoutError):
            # Admitted at the very moment when it gives up: nobody else would release the lease.
            admitted = waiter.admitted
            if admitted.done() and not admitted.cancelled() and admitted.exception() is None:
                admitted.result().release()
            raise
        finally:
            self._leave(waiter)

    def admit(self, waiter: Waiter, lease: Lease) -> None:
        """Let `waiter` go on with `lease`."""
        self._leave(waiter)
        if waiter.admitted.done():  # it is just leaving
            lease.release()
        else:
            waiter.admitted.set_result(lease)

    def refuse(self, waiter: Waiter, error: ExpertNotReadyError) -> None:
        """Have `waiter` end with `error`."""
        self._leave(waiter)
        if not waiter.admitted.done():
            waiter.admitted.set_exception(error)

    def _leave(self, waiter: Waiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            self._changed()
