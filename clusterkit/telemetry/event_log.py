"""The event log of one service: writes intents and outcomes, answers queries.

Each deployable that keeps one creates the table in its own migrations, from `events` below.
"""

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

import orjson
import psutil
import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection

from clusterkit.clock import Clock
from clusterkit.errors import HearthError, StorageError
from clusterkit.storage.database import Database
from clusterkit.telemetry.actions import (
    ActionOutcome,
    ActionPhase,
    ActionStatus,
    ActionType,
    ContextSnapshot,
    ErrorDetails,
    EventQuery,
    ResourceMetrics,
    StoredEvent,
)
from clusterkit.telemetry.redaction import redact, redact_text
from clusterkit.telemetry.tracing import current_trace

# SQLite numbers rows by itself only in a column called INTEGER, which has 64 bits there.
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Compared byte by byte: a language's order passes over the dot before the fraction.
_TIME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

metadata = sa.MetaData()
events = sa.Table(
    "action_events",
    metadata,
    sa.Column("seq", _NUMBER, primary_key=True, autoincrement=True),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("timestamp", _TIME, nullable=False),
    sa.Column("task_id", sa.Text, nullable=False),
    sa.Column("action_type", sa.Text, nullable=False),
    sa.Column("tool_name", sa.Text),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.UniqueConstraint("event_id", "phase", name="one_row_per_phase"),
    sa.Index("action_events_by_task", "task_id", "seq"),
    sa.Index("action_events_by_tool", "tool_name", "status", "seq"),
    sa.Index("action_events_by_status", "status", "seq"),
    sa.Index("action_events_by_time", "timestamp"),
    sqlite_autoincrement=True,
)

log = structlog.get_logger()


class Action:
    """A running action; what it yields and costs is told to it."""

    def __init__(self, event_id: str) -> None:
        """See `EventLog.action`, which makes these."""
        self.event_id = event_id
        self.result: Any = None
        self.tokens_in: int | None = None
        self.tokens_out: int | None = None

    def output(self, value: Any) -> None:
        """What a tool gave back; kept, redacted, for tool calls."""
        self.result = value

    def tokens(self, tokens_in: int | None, tokens_out: int | None) -> None:
        """Tokens of the prompt and of the answer."""
        self.tokens_in, self.tokens_out = tokens_in, tokens_out


class EventLog:
    """Writes and reads the events of one service."""

    def __init__(self, database: Database, clock: Clock, new_id: Callable[[], str]) -> None:
        """`new_id` makes event ids, unique for ever."""
        self._database, self._clock, self._new_id = database, clock, new_id
        self._process = psutil.Process()
        self._cwd = str(Path.cwd())
        self._waiting: set[asyncio.Task[None]] = set()
        self.write_failure: str | None = None  #: why the last write failed, None when it did not

    @asynccontextmanager
    async def action(
        self,
        *,
        task_id: str,
        agent_id: str,
        principal: str | None = None,
        action_type: ActionType,
        tool_name: str | None = None,
        tool_parameters: Mapping[str, Any] | None = None,
        files: tuple[str, ...] = (),
        entities: tuple[str, ...] = (),
    ) -> AsyncIterator[Action]:
        """Record what the body does: an intent on entry, exactly one outcome on exit.

        A tool call's intent is on disk before its body runs, because tools change things; other
        intents are on their way there. `principal` is who it is done for; `files` and `entities` say
        what the action is about. Whatever the body raises is recorded and raised on.
        """
        action = Action(self._new_id())
        if action_type is ActionType.TOOL_CALL:
            action.tokens(0, 0)  # a tool asks no model unless it says so
        fixed: dict[str, Any] = {
            "event_id": action.event_id,
            "task_id": task_id,
            "agent_id": agent_id,
            "principal": principal,
            "trace_id": trace.trace_id if (trace := current_trace()) else None,
            "action_type": action_type,
            "tool_name": None if tool_name is None else redact_text(tool_name),
            "tool_parameters": None if tool_parameters is None else redact(tool_parameters),
            "context_snapshot": ContextSnapshot(
                cwd=self._cwd,
                files=tuple(map(redact_text, files)),
                entities=tuple(map(redact_text, entities)),
            ),
        }
        written = self._append(fixed, phase=ActionPhase.INTENT, status=ActionStatus.STARTED)
        started, cpu = self._clock.monotonic(), time.process_time()
        status: ActionStatus = ActionStatus.SUCCESS
        failure: Exception | None = None
        try:
            if action_type is ActionType.TOOL_CALL:
                # Shielded: once handed over it is written, and then an outcome has to follow.
                await asyncio.shield(written)
            yield action
        except TimeoutError as error:
            status, failure = ActionStatus.TIMEOUT, error
            raise
        except Exception as error:
            status, failure = ActionStatus.FAILURE, error
            raise
        except BaseException:
            status = ActionStatus.INTERRUPTED
            raise
        finally:
            self._append(
                fixed,
                phase=ActionPhase.OUTCOME,
                status=status,
                error_details=None if failure is None else error_details(failure),
                tool_output=redact(action.result) if tool_name is not None else None,
                resource_metrics=self._cost(action, started, cpu),
            )

    def _append(self, fixed: Mapping[str, Any], **rest: Any) -> "asyncio.Task[None]":
        event = ActionOutcome(timestamp=self._clock.now(), **fixed, **rest)
        task = asyncio.create_task(self.append([event]))
        # Kept, so that a write nobody waits for is neither collected nor lost at shutdown.
        self._waiting.add(task)
        task.add_done_callback(self._settled)
        return task

    def _settled(self, task: "asyncio.Task[None]") -> None:
        self._waiting.discard(task)
        error = None if task.cancelled() else task.exception()
        self.write_failure = str(error) if error else None
        if error is not None:
            log.error("event_not_written", problem=str(error))

    async def try_again(self) -> None:
        """After a failed write, find out whether writing works by now; `write_failure` says so then."""
        if self.write_failure is None:
            return

        def write_and_take_back(connection: Connection) -> None:
            row = dict.fromkeys(("event_id", "phase", "task_id", "action_type", "status", "body"), "")
            connection.execute(events.insert(), row | {"timestamp": self._clock.now().isoformat()})
            connection.execute(events.delete().where(events.c.event_id == ""))

        try:
            await self._database.write(write_and_take_back)
        except StorageError as error:
            self.write_failure = str(error)
        else:
            self.write_failure = None

    async def append(self, written: list[ActionOutcome]) -> None:
        """Write events; returns once they are safely on disk."""
        await self._database.write(lambda connection: _insert(connection, written))

    async def flush(self) -> None:
        """Wait until everything recorded so far is on disk."""
        while self._waiting:
            await asyncio.wait(self._waiting)

    async def query(self, query: EventQuery) -> list[StoredEvent]:
        """The events that match, oldest first."""
        rows = await self._database.read(lambda connection: connection.execute(_select(query)).all())
        return [StoredEvent(seq=row.seq, **orjson.loads(row.body)) for row in rows]

    async def close_interrupted(self) -> int:
        """Give every intent of an earlier process that has no outcome the outcome 'interrupted'.

        Returns how many there were. To be called once at start, before any action.
        """
        outcome = events.alias()
        has_outcome = sa.and_(outcome.c.event_id == events.c.event_id, outcome.c.phase == ActionPhase.OUTCOME)
        query = sa.select(events.c.body).where(
            events.c.phase == ActionPhase.INTENT, ~sa.exists().where(has_outcome)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).scalars().all())
        details = ErrorDetails(message="the process ended during the action", code="process_ended")
        closed = [
            ActionOutcome(
                **{
                    **orjson.loads(body),
                    "phase": ActionPhase.OUTCOME,
                    "timestamp": self._clock.now(),
                    "status": ActionStatus.INTERRUPTED,
                    "error_details": details,
                }
            )
            for body in rows
        ]
        if closed:
            await self.append(closed)
        return len(closed)

    def _cost(self, action: Action, started: float, cpu: float) -> ResourceMetrics:
        elapsed = max(self._clock.monotonic() - started, 0.0)
        used = max(time.process_time() - cpu, 0.0)
        return ResourceMetrics(
            cpu_usage_percent=round(100 * used / elapsed, 1) if elapsed > 0 else 0.0,
            memory_usage_mb=round(self._process.memory_info().rss / 2**20, 1),
            token_count_in=action.tokens_in,
            token_count_out=action.tokens_out,
            api_call_latency_ms=round(elapsed * 1000, 3),
        )


def error_details(error: BaseException) -> ErrorDetails:
    """An exception as error details, without secrets."""
    code = error.code if isinstance(error, HearthError) else type(error).__name__
    lines = "".join(traceback.format_exception(error, limit=-6))
    return ErrorDetails(
        message=redact_text(str(error) or type(error).__name__), code=code, stack_trace=redact_text(lines)
    )


def _insert(connection: Connection, written: list[ActionOutcome]) -> None:
    rows = [
        {
            "event_id": event.event_id,
            "phase": event.phase,
            "timestamp": event.timestamp.astimezone(UTC).isoformat(),
            "task_id": _indexed(event.task_id),
            "action_type": event.action_type,
            "tool_name": None if event.tool_name is None else _indexed(event.tool_name),
            "status": event.status,
            "body": event.model_dump_json(),
        }
        for event in written
    ]
    connection.execute(events.insert(), rows)


def _indexed(text: str) -> str:
    """`text` as a column can hold it; PostgreSQL has no room for NUL, which JSON has as an escape."""
    return text.replace("\0", "\ufffd")


def _select(query: EventQuery) -> sa.Select[Any]:
    wanted = sa.select(events.c.seq, events.c.body).where(events.c.seq > query.after)
    for name in ("task_id", "tool_name", "action_type", "status"):
        value = getattr(query, name)
        if value is not None:
            wanted = wanted.where(events.c[name] == _indexed(value))
    if query.since is not None:
        wanted = wanted.where(events.c.timestamp >= query.since.astimezone(UTC).isoformat())
    if query.until is not None:
        wanted = wanted.where(events.c.timestamp < query.until.astimezone(UTC).isoformat())
    return wanted.order_by(events.c.seq).limit(query.limit)
