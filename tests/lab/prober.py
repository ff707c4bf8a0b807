"""A steady client of a replicated service: 20 requests a second, to instances that Consul calls healthy."""

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx

from tests.lab.engine import LabError
from tests.lab.site import Instance, Site, instances_of

RATE = 20
DEADLINE_S = 5.0
LOOKUP_WAIT_S = 5
RETRY_PAUSE_S = 0.25
#: Idle connections end here before a server ends them: no request meets a connection that just closed.
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2.0)


@dataclass
class Tally:
    """What became of the requests."""

    sent: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    longest_gap_s: float = 0.0

    def as_dict(self) -> dict[str, object]:
        """For the results."""
        return {
            "sent": self.sent,
            "lost": self.lost.total(),
            "why": dict(self.lost),
            "longest_gap_s": round(self.longest_gap_s, 2),
        }


class Prober:
    """Sends requests from its own thread until the block is left; no request is ever sent twice."""

    def __init__(self, site: Site, service: str, path: str, headers: Mapping[str, str] | None = None) -> None:
        """`service` is looked up in Consul again and again, as a client of it would."""
        self._site = site
        self._service = service
        self._path = path
        self._headers = dict(headers or {})
        self._instances: list[Instance] = []
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._last_success = 0.0
        self._index = "0"
        self.tally = Tally()

    def __enter__(self) -> "Prober":
        self._site.wait(self._look_up, 30, f"a healthy instance of {self._service}")
        for work in (self._keep_looking_up, lambda: asyncio.run(self._send())):
            self._start(work)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _look_up(self) -> bool:
        """Wait for news, at most a few seconds; whether there is an instance."""
        path = f"/v1/health/service/{self._service}?passing=1&index={self._index}&wait={LOOKUP_WAIT_S}s"
        answer = self._site.consul(path, timeout=LOOKUP_WAIT_S + 3)
        found = instances_of(answer.json())
        self._index = answer.index or "0"
        if found:
            self._instances = found
        return bool(found)

    def _keep_looking_up(self) -> None:
        while not self._over.is_set():
            try:
                self._look_up()
            except LabError:  # Consul has no leader or its host is gone: go on with what was known
                self._index = "0"
                self._over.wait(RETRY_PAUSE_S)

    async def _send(self) -> None:
        async with (
            httpx.AsyncClient(timeout=DEADLINE_S, headers=self._headers, limits=LIMITS) as client,
            asyncio.TaskGroup() as group,
        ):
            began = self._last_success = time.monotonic()
            for number in itertools.count():
                wait = began + number / RATE - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                if self._over.is_set():
                    break
                group.create_task(self._one(client, number))

    async def _one(self, client: httpx.AsyncClient, number: int) -> None:
        instance = self._instances[number % len(self._instances)]
        self.tally.sent += 1
        try:
            answer = await client.get(f"{instance.url}{self._path}")
        except httpx.HTTPError as error:
            self._lose(f"{instance.node}: {type(error).__name__}")
            return
        if answer.status_code != 200:
            self._lose(f"{instance.node}: {answer.status_code}")
            return
        now = time.monotonic()
        self.tally.longest_gap_s = max(self.tally.longest_gap_s, now - self._last_success)
        self._last_success = now

    def _lose(self, why: str) -> None:
        self.tally.lost[why] += 1
