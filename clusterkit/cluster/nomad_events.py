"""Nomad's event stream, followed for good: reconnects, goes on where it stopped, notices what it missed."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog

from clusterkit.clock import Clock
from clusterkit.cluster.agent_http import AgentError, NotFoundError, Params, RefusedError, RejectedError
from clusterkit.cluster.nomad import Nomad

SILENCE_SECONDS = 25.0  #: Nomad sends a sign of life every 10 s
RETRY_SECONDS = 1.0  #: before a broken stream is opened again

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class ClusterEvent:
    """Something that changed in Nomad."""

    index: int
    topic: str  #: Job, Evaluation, Allocation, Deployment, Node, Service, …
    type: str
    key: str  #: the id of what changed
    payload: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Resync:
    """Events may be missing before this point: list everything anew. Always the first thing said."""

    reason: str


@dataclass
class _Position:
    index: int = 0  #: of the last batch that was handed on
    resumed: bool = False  #: that batch was seen again after reconnecting, so none is missing


async def follow(
    nomad: Nomad, clock: Clock, topics: Sequence[str] = ("*",)
) -> AsyncIterator[ClusterEvent | Resync]:
    """All events from now on, until cancelled. Raises `RefusedError`, `RejectedError`: those do not pass."""
    position = _Position()
    yield Resync("begun")
    while True:
        position.resumed = position.index == 0
        try:
            async with nomad.http.lines(
                "/v1/event/stream", params=_asked(topics, position), silence=SILENCE_SECONDS
            ) as lines:
                async for line in lines:
                    for item in _items(line, position):
                        yield item
            problem = "the stream ended"
        except (RefusedError, RejectedError, NotFoundError):
            raise
        except AgentError as error:
            problem = str(error)
        log.warning("event_stream_broken", problem=problem, index=position.index)
        await clock.sleep(RETRY_SECONDS)


def _asked(topics: Sequence[str], position: _Position) -> Params:
    # Asked from the last index that was seen, not from the one after: when it comes again, Nomad still
    # remembers back to there and nothing is missing.
    return {"topic": topics, **({"index": position.index} if position.index else {})}


def _items(line: bytes, position: _Position) -> list[ClusterEvent | Resync]:
    batch = orjson.loads(line) if line.strip() else {}
    if "Index" not in batch:
        return []  # a sign of life
    index = int(batch["Index"])
    items: list[ClusterEvent | Resync] = []
    if not position.resumed:
        position.resumed = True
        if index == position.index:
            return []
        items.append(Resync(f"events between {position.index} and {index} may be missing"))
    elif index < position.index:
        items.append(Resync(f"the index went back from {position.index} to {index}"))
    position.index = index
    return [*items, *(_event(index, row) for row in batch.get("Events") or ())]


def _event(index: int, row: Mapping[str, Any]) -> ClusterEvent:
    return ClusterEvent(
        index=index, topic=row["Topic"], type=row["Type"], key=row["Key"], payload=row["Payload"] or {}
    )
