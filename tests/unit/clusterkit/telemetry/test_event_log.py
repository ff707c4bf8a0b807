"""What an agent did is written before and after, can be found again, survives a kill, and holds no secret."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import ValidationError

from clusterkit.clock import SystemClock
from clusterkit.errors import HearthError, StorageError
from clusterkit.storage.database import Database, sqlite_url
from clusterkit.telemetry.actions import ActionOutcome, ActionType, EventQuery, Phase, Status, StoredEvent
from clusterkit.telemetry.event_log import EventLog, metadata
from clusterkit.telemetry.tracing import Trace, use_trace
from clusterkit.testing import FakeClock
from pipecatapp.nodes.registry import NodeRegistry
from pipecatapp.web.feeds import feed_routes
from tests.unit.clusterkit.canaries import CANARIES

START = datetime(2026, 1, 1, tzinfo=UTC)
WHO: dict[str, Any] = {"task_id": "t1", "agent_id": "a1"}
TOOL: dict[str, Any] = {**WHO, "action_type": ActionType.TOOL_CALL, "tool_name": "clock"}


def counted() -> Callable[[], str]:
    numbers = itertools.count()
    return lambda: f"e{next(numbers)}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    async with Database(sqlite_url(path)) as opened:
        await opened.write(metadata.create_all)
        yield opened


@pytest.fixture
def log(database: Database) -> EventLog:
    return EventLog(database, SystemClock(), counted())


async def all_of(log: EventLog, **query: Any) -> list[StoredEvent]:
    await log.flush()
    found: list[StoredEvent] = []
    while more := await log.query(EventQuery(after=found[-1].seq if found else 0, limit=1000, **query)):
        found += more
    return found


@pytest.mark.req("TEL-01")
@pytest.mark.parametrize("action_type", list(ActionType))
async def test_every_kind_of_action_leaves_an_intent_and_an_outcome(
    log: EventLog, action_type: ActionType
) -> None:
    tool: dict[str, Any] = {}
    if action_type is ActionType.TOOL_CALL:
        tool = {"tool_name": "clock", "tool_parameters": {"zone": "UTC"}}
    use_trace(Trace("ab" * 16, "cd" * 8))
    async with log.action(**WHO, action_type=action_type, **tool) as action:
        action.output({"time": "12:00"})
        action.tokens(3, 4)
    intent, outcome = await all_of(log)
    assert intent.event_id == outcome.event_id == action.event_id
    assert (intent.phase, intent.status) == (Phase.INTENT, Status.STARTED)
    assert (outcome.phase, outcome.status) == (Phase.OUTCOME, Status.SUCCESS)
    for event in (intent, outcome):
        assert (event.task_id, event.agent_id, event.trace_id) == ("t1", "a1", "ab" * 16)
        assert (event.action_type, event.tool_name) == (action_type, tool.get("tool_name"))
        assert event.tool_parameters == tool.get("tool_parameters")
        assert event.timestamp.utcoffset() == timedelta(0)
    assert intent.tool_output is None
    assert outcome.tool_output == ({"time": "12:00"} if tool else None)
    assert (outcome.resource_metrics.token_count_in, outcome.resource_metrics.token_count_out) == (3, 4)


@pytest.mark.req("TEL-01")
async def test_an_action_that_makes_no_sense_is_refused_before_it_runs(log: EventLog) -> None:
    wrong: list[dict[str, Any]] = [
        {**WHO, "action_type": ActionType.TOOL_CALL},
        {**WHO, "action_type": ActionType.LLM_INFERENCE, "tool_name": "clock"},
        {**TOOL, "task_id": ""},
    ]
    for arguments in wrong:
        with pytest.raises(ValidationError):
            async with log.action(**arguments):
                pytest.fail("it ran")
    assert await all_of(log) == []


class BrokenToolError(HearthError):
    """A failure with a code of its own."""

    code = "tool_broken"


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (BrokenToolError("no oil"), Status.FAILURE, "tool_broken"),
        (KeyError("oil"), Status.FAILURE, "KeyError"),
        (ValueError(), Status.FAILURE, "ValueError"),
        (TimeoutError("too slow"), Status.TIMEOUT, "TimeoutError"),
        (asyncio.CancelledError(), Status.INTERRUPTED, None),
        (SystemExit(3), Status.INTERRUPTED, None),
    ],
)
async def test_what_goes_wrong_is_recorded_and_raised_on(
    log: EventLog, raised: BaseException, status: Status, code: str | None
) -> None:
    with pytest.raises(type(raised)) as caught:
        async with log.action(**TOOL):
            raise raised
    assert caught.value is raised
    _, outcome = await all_of(log)
    assert outcome.status is status
    assert (outcome.error_details.code if outcome.error_details else None) == code
    if outcome.error_details:
        assert outcome.error_details.message
        assert "Traceback" in outcome.error_details.stack_trace


async def test_a_tool_runs_only_once_its_intent_is_on_disk(log: EventLog, path: Path) -> None:
    async with Database(sqlite_url(path)) as other, log.action(**TOOL):
        seen = await EventLog(other, SystemClock(), counted()).query(EventQuery())
    assert [event.phase for event in seen] == [Phase.INTENT]


async def test_a_tool_does_not_run_when_its_intent_cannot_be_written(path: Path) -> None:
    async with Database(sqlite_url(path)) as database:  # without its table
        log = EventLog(database, SystemClock(), counted())
        with pytest.raises(StorageError, match="no such table"):
            async with log.action(**TOOL):
                pytest.fail("it ran")
        await log.flush()
        assert log.write_failure is not None
        assert "no such table" in log.write_failure


async def test_an_action_cancelled_while_its_intent_is_written_has_an_outcome(log: EventLog) -> None:
    async def act() -> None:
        async with log.action(**TOOL):
            pytest.fail("it ran")

    task = asyncio.create_task(act())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [event.status for event in await all_of(log)] == [Status.STARTED, Status.INTERRUPTED]


async def test_actions_that_a_killed_process_left_open_are_closed_once(log: EventLog) -> None:
    async with log.action(**TOOL):
        pass
    whole = (await all_of(log))[0]
    open_one = ActionOutcome(**{**whole.model_dump(exclude={"seq"}), "event_id": "left-open"})
    await log.append([open_one])
    assert await log.close_interrupted() == 1
    assert await log.close_interrupted() == 0
    last = (await all_of(log))[-1]
    assert (last.event_id, last.phase, last.status) == ("left-open", Phase.OUTCOME, Status.INTERRUPTED)
    assert last.error_details is not None
    assert last.error_details.code == "process_ended"


@pytest.mark.req("TEL-04")
async def test_a_local_tool_call_has_all_of_its_costs(log: EventLog) -> None:
    async with log.action(**TOOL) as action:
        action.output(sum(n * n for n in range(200_000)))
    costs = (await all_of(log))[-1].resource_metrics.model_dump()
    assert None not in costs.values()
    assert costs["cpu_usage_percent"] > 1
    assert 5 < costs["memory_usage_mb"] < 10_000
    assert costs["api_call_latency_ms"] > 0.1
    assert (costs["token_count_in"], costs["token_count_out"]) == (0, 0)


async def test_an_action_takes_as_long_as_the_clock_says(database: Database) -> None:
    clock = FakeClock(START)
    log = EventLog(database, clock, counted())
    async with log.action(**WHO, action_type=ActionType.LLM_INFERENCE):
        await clock.advance(1.25)
    intent, outcome = await all_of(log)
    assert (intent.timestamp, outcome.timestamp) == (START, START + timedelta(seconds=1.25))
    assert outcome.resource_metrics.api_call_latency_ms == 1250
    assert outcome.resource_metrics.token_count_in is None


@pytest.mark.req("TEL-05")
async def test_the_snapshot_says_where_it_happened_and_what_it_was_about(log: EventLog) -> None:
    async with log.action(**TOOL, files=("workflows/a.yaml",), entities=("a#ask", "model:main")):
        pass
    for event in await all_of(log):
        assert event.context_snapshot.model_dump() == {
            "cwd": str(Path.cwd()),
            "files": ("workflows/a.yaml",),
            "entities": ("a#ask", "model:main"),
        }


@pytest.mark.req("TEL-05")
async def test_no_credential_reaches_the_disk_or_the_feed(log: EventLog, path: Path) -> None:
    async def leak(text: str) -> None:
        async with log.action(
            **{**TOOL, "tool_name": text},
            tool_parameters={"plain": text, "deep": [{"x": (text,)}], text: 1},
            files=(text,),
            entities=(text,),
        ) as action:
            action.output({"stdout": text, "lines": [text]})
            try:
                raise ValueError(f"while using {text}")
            except ValueError as error:
                raise BrokenToolError(text) from error

    for canary in CANARIES:
        with pytest.raises(BrokenToolError):
            await leak(canary.text)
    named = {"password": "Plain-Canary", "clientSecret": ["Plain-Canary"], "pin": "Plain-Canary"}
    async with log.action(**TOOL, tool_parameters=named) as action:
        action.output({"api_key": "Plain-Canary"})
    assert len(await all_of(log)) == 2 * len(CANARIES) + 2

    app = FastAPI()
    app.include_router(feed_routes(log, NodeRegistry()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        feed = (await http.get("/api/events?limit=1000")).content
    written = [file.read_bytes() for file in path.parent.iterdir()]
    assert len(written) == 3  # the database, its log and the index of that
    for secret in (*(canary.secret for canary in CANARIES), "Plain-Canary"):
        for data in (feed, *written):
            assert secret.encode() not in data, secret
    assert b"[hidden]" in feed


def event(number: int) -> ActionOutcome:
    failed = number % 10 == 0
    is_tool = number % 4 != 3
    return ActionOutcome.model_validate(
        {
            "event_id": f"e{number}",
            "phase": "outcome",
            "timestamp": START + timedelta(seconds=number),
            "task_id": f"task-{number % 7}",
            "agent_id": "a1",
            "action_type": "tool_call" if is_tool else "llm_inference",
            "tool_name": f"tool-{number % 4}" if is_tool else None,
            "status": "failure" if failed else "success",
            "error_details": {"message": "m", "code": "c"} if failed else None,
            "context_snapshot": {"cwd": "/srv"},
        }
    )


@pytest.mark.req("TEL-02")
async def test_ten_thousand_events_are_found_by_task_tool_status_and_time(log: EventLog) -> None:
    made = [event(number) for number in range(10_000)]
    await asyncio.gather(*(log.append(made[n : n + 20]) for n in range(0, len(made), 20)))

    async def numbers(**query: Any) -> list[int]:
        return [int(found.event_id[1:]) for found in await all_of(log, **query)]

    everything = range(10_000)
    assert await numbers() == list(everything)
    assert await numbers(task_id="task-3") == [n for n in everything if n % 7 == 3]
    assert await numbers(tool_name="tool-2") == [n for n in everything if n % 4 == 2]
    assert await numbers(action_type="llm_inference") == [n for n in everything if n % 4 == 3]
    assert await numbers(status="failure") == [n for n in everything if n % 10 == 0]
    since, until = START + timedelta(seconds=500), START + timedelta(seconds=1700)
    assert await numbers(since=since, until=until) == list(range(500, 1700))
    elsewhere = since.astimezone(tz=datetime.strptime("+05:30", "%z").tzinfo)
    assert await numbers(since=elsewhere, until=until) == list(range(500, 1700))
    assert await numbers(
        task_id="task-3", tool_name="tool-2", status="failure", since=since, until=until
    ) == [n for n in range(500, 1700) if n % 7 == 3 and n % 4 == 2 and n % 10 == 0]
    assert await numbers(task_id="' OR 1=1 --") == []


APPEND_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from clusterkit.clock import SystemClock
from clusterkit.telemetry.event_log import EventLog, metadata
from clusterkit.storage.database import Database, sqlite_url
from tests.unit.clusterkit.telemetry.test_event_log import event

async def main():
    async with Database(sqlite_url(Path(sys.argv[1]))) as database:
        await database.write(metadata.create_all)
        log = EventLog(database, SystemClock(), str)
        async def write(first):
            for number in range(first, 10**9, 8):
                await log.append([event(number)])
                print(f"e{number}", flush=True)
        await asyncio.gather(*map(write, range(8)))

asyncio.run(main())
"""


@pytest.mark.req("TEL-02")
async def test_no_acknowledged_event_is_lost_when_the_process_is_killed(path: Path) -> None:
    command = [sys.executable, "-c", APPEND_FOR_EVER, str(path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - it outlives no test
    assert child.stdout is not None
    acknowledged = {child.stdout.readline().strip() for _ in range(300)}
    os.kill(child.pid, signal.SIGKILL)
    acknowledged |= set(child.communicate(timeout=30)[0].split("\n")[:-1])
    async with Database(sqlite_url(path)) as database:
        found = {stored.event_id for stored in await all_of(EventLog(database, SystemClock(), counted()))}
    assert len(acknowledged) >= 300
    assert acknowledged <= found


async def test_the_feed_hands_out_a_cursor(log: EventLog) -> None:
    await log.append([event(number) for number in range(5)])
    app = FastAPI()
    app.include_router(feed_routes(log, NodeRegistry()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        first = (await http.get("/api/events?limit=3")).json()
        rest = (await http.get(f"/api/events?after={first['next']}")).json()
        end = (await http.get(f"/api/events?after={rest['next']}")).json()
        assert (await http.get("/api/events?limit=0")).status_code == 422
    assert [one["event_id"] for one in first["events"] + rest["events"]] == [f"e{n}" for n in range(5)]
    assert end == {"events": [], "next": rest["next"]}
