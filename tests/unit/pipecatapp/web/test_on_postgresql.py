"""The agent with its database on a PostgreSQL server, and without the server or its driver."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from clusterkit.testing import ScriptedAnswer
from tests.servers.agent import WORKFLOWS, RunningAgent, soon
from tests.servers.postgres import ENCODED_PASSWORD, PASSWORD, Postgres
from tests.unit.pipecatapp.web.conftest import MakeAgent

REFUSED = 2
PRODUCT = "5332114"  #: of the sum that is asked for; no port has so many digits
WITHOUT_DRIVER = """
import runpy, sys
sys.modules["pg8000"] = None  # how Python notes that a module is not there
runpy.run_module("pipecatapp", run_name="__main__", alter_sys=True)
"""


def rows(postgres: Postgres, url: str) -> list[tuple[str, str, str | None]]:
    """(phase, status, tool) of every action, by the server's own account."""
    schema = sa.make_url(url).username
    found = postgres.run_sql(f"SELECT phase, status, tool_name FROM {schema}.action_events ORDER BY seq")
    return [tuple(row) for row in found]


async def sum_of(agent: RunningAgent) -> str:
    answer = await agent.ask("1234 * 4321")
    return str(answer.json()["choices"][0]["message"]["content"]) if answer.is_success else answer.text


async def test_the_actions_of_a_turn_are_in_postgresql(
    make_agent: MakeAgent, postgres: Postgres, postgresql_url: str, tmp_path: Path
) -> None:
    async with make_agent(database_url=postgresql_url) as agent:
        assert PRODUCT in await sum_of(agent)
        events = (await agent.client.get("/api/events")).json()["events"]
    kept = rows(postgres, postgresql_url)
    assert ("intent", "started", "calculator") in kept
    assert ("outcome", "success", "calculator") in kept
    assert kept == [(one["phase"], one["status"], one["tool_name"]) for one in events]
    assert await asyncio.to_thread(lambda: list(tmp_path.rglob("*.db"))) == []


async def test_an_agent_outlives_its_server_and_says_so_meanwhile(
    make_agent: MakeAgent, postgres: Postgres, postgresql_url: str
) -> None:
    async with make_agent(database_url=postgresql_url) as agent:
        await agent.says(ScriptedAnswer(text="Here."))
        assert PRODUCT in await sum_of(agent)
        assert (await agent.client.get("/health")).status_code == 200
        # An answer does not wait for its last rows.
        await soon(lambda: ("outcome", "success", "calculator") in rows(postgres, postgresql_url) or None)
        with postgres.down():
            refused = await sum_of(agent)
            sick = await agent.client.get("/health")
        assert PRODUCT not in refused
        assert sick.status_code == 503
        detail = sick.json()["checks"]["event_log"]["detail"]
        assert re.search(rf"@127\.0\.0\.1:{postgres.port}/postgres: cannot be reached: ", detail)
        for text in (refused, sick.text, *map(repr, agent.logs)):
            assert PASSWORD not in text
            assert ENCODED_PASSWORD not in text
        assert (await agent.client.get("/health")).status_code == 200
        assert PRODUCT in await sum_of(agent)
    kept = rows(postgres, postgresql_url)
    assert kept.count(("outcome", "success", "calculator")) == 2, kept


async def start(
    monkeypatch: pytest.MonkeyPatch, url: str, home: Path, *command: str
) -> subprocess.CompletedProcess[str]:
    """What `python -m pipecatapp` ends with when it is told to use the database at `url`."""
    monkeypatch.setenv("PIPECATAPP_HOME", str(home))
    monkeypatch.setenv("PIPECATAPP_PORT", "0")
    monkeypatch.setenv("PIPECATAPP_WORKFLOWS_DIR", str(WORKFLOWS))
    monkeypatch.setenv("PIPECATAPP_DATABASE_URL", url)
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, *(command or ("-m", "pipecatapp"))],
        capture_output=True,
        text=True,
        timeout=90,
    )


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        (
            "postgresql://me:canary@127.0.0.1:1/mine",
            r"me:\*\*\*@127\.0\.0\.1:1/mine: cannot be reached: Connection",
        ),
        ("mysql://me:canary@db/mine", "PIPECATAPP_DATABASE_URL: 'mysql' is not a kind of database"),
    ],
    ids=["nobody there", "not supported"],
)
async def test_a_database_that_cannot_be_used_ends_the_agent_with_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, complaint: str
) -> None:
    ended = await start(monkeypatch, url, tmp_path)
    assert ended.returncode == REFUSED
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert re.search(complaint, errors[0])
    assert "canary" not in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr


async def test_without_its_driver_the_agent_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ended = await start(monkeypatch, "postgresql://me:canary@db/mine", tmp_path, "-c", WITHOUT_DRIVER)
    assert ended.returncode == REFUSED
    assert "error: PIPECATAPP_DATABASE_URL: PostgreSQL needs the driver pg8000" in ended.stderr
    assert "pip install 'hearth[postgresql]'" in ended.stderr
    assert "canary" not in ended.stderr
