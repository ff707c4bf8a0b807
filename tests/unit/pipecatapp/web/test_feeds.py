"""What programs can read from the agent: its events, its node types, its health; and the page's headers."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from clusterkit.cluster.agent_http import UnreachableError
from clusterkit.testing import ScriptedAnswer
from pipecatapp.web.app import STATIC
from tests.servers.agent import WORKFLOWS, RunningAgent
from tests.unit.pipecatapp.web.conftest import MakeAgent

PLUGIN = '''
"""A node type from a folder of a person's own."""
from pipecatapp.nodes.base import Node, NodeConfig


class ShoutConfig(NodeConfig):
    text: str


class ShoutNode(Node[ShoutConfig]):
    """Says it louder."""

    type = "shout"
    Config = ShoutConfig
    outputs = {"text": "text"}

    async def run(self, config, context):
        return {"text": config.text.upper()}
'''


async def events(agent: RunningAgent, **query: Any) -> Any:
    answer = await agent.client.get("/api/events", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def written(agent: RunningAgent, turns: int) -> None:
    """Return once everything that so many turns did is in the feed."""
    for _ in range(1000):
        found = (await events(agent, limit=1000))["events"]
        done = [one for one in found if one["phase"] == "outcome"]
        said = [one for one in done if one["context_snapshot"]["entities"][0].endswith("say")]
        if len(said) == turns and len(done) * 2 == len(found):
            return
    raise AssertionError("an outcome is missing")


async def test_the_feed_of_events_is_read_on_from_its_cursor(agent: RunningAgent) -> None:
    assert await events(agent) == {"events": [], "next": 0}
    for number in range(3):
        await agent.ask(f"what is {number} + 1")
    await written(agent, 3)
    everything = await events(agent, limit=1000)
    seen: list[Any] = []
    cursor = 0
    while (page := await events(agent, after=cursor, limit=4))["events"]:
        assert len(page["events"]) <= 4
        seen += page["events"]
        cursor = page["next"]
    assert seen == everything["events"]
    assert [one["seq"] for one in seen] == sorted({one["seq"] for one in seen})
    assert page["next"] == cursor == everything["next"]


@pytest.mark.req("TEL-03", "TEL-04")
async def test_turns_leave_every_kind_of_action_with_what_it_cost(agent: RunningAgent) -> None:
    await agent.says(ScriptedAnswer(text="Once upon a time."))
    await agent.ask("what is 1 + 1")
    await agent.ask("Tell me a story.")
    await written(agent, 2)
    outcomes = [one for one in (await events(agent, limit=1000))["events"] if one["phase"] == "outcome"]
    assert {one["action_type"] for one in outcomes} == {"tool_call", "llm_inference", "plan_step_execution"}
    (call,) = (one for one in outcomes if one["action_type"] == "tool_call")
    assert call["tool_name"] == "calculator"
    assert None not in call["resource_metrics"].values()
    (inference,) = (one for one in outcomes if one["action_type"] == "llm_inference")
    assert inference["resource_metrics"]["token_count_in"] > 0
    assert inference["resource_metrics"]["token_count_out"] == 4  # a word each


async def test_the_feed_of_events_can_be_filtered(agent: RunningAgent) -> None:
    run = (await agent.ask("what is 1 + 1")).json()["hearth"]["run"]
    await agent.ask("what is 1 / 0")
    await written(agent, 2)
    calls = (await events(agent, tool_name="calculator"))["events"]
    assert {one["tool_name"] for one in calls} == {"calculator"}
    assert {one["task_id"] for one in (await events(agent, task_id=run))["events"]} == {run}
    failed = (await events(agent, status="failure", action_type="tool_call"))["events"]
    assert [one["tool_parameters"] for one in failed] == [{"expression": "1 / 0"}]
    assert failed[0]["error_details"]["message"]
    second = calls[1]["timestamp"]
    assert (await events(agent, until=second, action_type="tool_call"))["events"] == calls[:1]
    assert (await events(agent, since=second, action_type="tool_call"))["events"] == calls[1:]
    assert (await events(agent, since="2999-01-01T00:00:00Z"))["events"] == []
    assert (await events(agent, since="2999-01-01T00:00:00Z", after=3))["next"] == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "many"),
        ("after", "-1"),
        ("after", str(2**63)),
        ("after", "9" * 5000),
        ("status", "splendid"),
        ("action_type", "dance"),
        ("since", "yesterday"),
        ("since", "2026-01-01T00:00:00"),
        ("colour", "red"),
    ],
)
async def test_a_bad_query_is_explained_in_the_shape_of_openai(
    agent: RunningAgent, name: str, value: str
) -> None:
    answer = await agent.client.get("/api/events", params={name: value})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == name
    assert error["type"] == "invalid_request_error"


async def test_the_node_types_are_listed_with_those_of_a_plugin_folder(
    make_agent: MakeAgent, tmp_path: Path
) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "shout.py").write_text(PLUGIN)
    (plugins / "torn.py").write_text("def half(:\n")
    async with make_agent(plugins_dir=plugins) as agent:
        listed = (await agent.client.get("/api/node-types")).json()
        health = (await agent.client.get("/health")).json()
    types = {one["type"]: one for one in listed["node_types"]}
    assert {"llm", "tool", "loop", "shout"} <= types.keys()
    assert types["llm"]["origin"] == "hearth"
    assert types["shout"]["origin"] == str(plugins / "shout.py")
    assert types["shout"]["doc"] == "Says it louder."
    assert types["shout"]["inputs"] == {"text": "text"}
    (broken,) = listed["broken_plugins"]
    assert broken["file"] == str(plugins / "torn.py")
    assert "SyntaxError" in broken["problem"]
    assert health["broken_plugins"] == [str(plugins / "torn.py")]


@pytest.mark.req("MON-09")
async def test_health_is_200_when_all_is_well_and_tells_of_the_model(agent: RunningAgent) -> None:
    await agent.announce(1)
    await agent.announce_expert(model="smollm2", built_in="true")
    answer = await agent.client.get("/health")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["service"], body["status"]) == ("pipecatapp", "ok")
    assert all(check == {"ok": True} for check in body["checks"].values())
    assert (body["model"], body["built_in_model"]) == ("smollm2", True)


@pytest.mark.req("MON-09")
async def test_health_is_503_without_a_healthy_gateway_and_says_why(agent: RunningAgent) -> None:
    answer = await agent.client.get("/health")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["checks"]["gateway"] == {"ok": False, "detail": "moe-gateway is not there"}
    await agent.announce(1, healthy=False, detail="no expert is ready")
    answer = await agent.client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["checks"]["gateway"] == {"ok": False, "detail": "no expert is ready"}


@pytest.mark.req("MON-09")
async def test_health_is_503_with_a_malformed_workflow_and_names_the_place(
    make_agent: MakeAgent, tmp_path: Path
) -> None:
    workflows = tmp_path / "workflows"
    workflows.mkdir()
    file = workflows / "default_agent_loop.yaml"
    file.write_text("schema: 1\nname: default_agent_loop\nnodes:\n  a: {type: llmm}\n")
    async with make_agent(workflows_dir=workflows) as agent:
        await agent.announce(1)
        answer = await agent.client.get("/health")
        assert answer.status_code == 503
        check = answer.json()["checks"]["workflow"]
        assert not check["ok"]
        assert re.search(r"default_agent_loop\.yaml:4:\d+", check["detail"])
        file.write_text((WORKFLOWS / "default_agent_loop.yaml").read_text())
        assert (await agent.client.get("/health")).status_code == 200


@pytest.mark.req("MON-09")
async def test_health_is_503_while_the_event_log_cannot_be_written(agent: RunningAgent) -> None:
    await agent.announce(1)
    with closing(sqlite3.connect(agent.settings.data_dir / "pipecatapp.db")) as database:
        database.execute("ALTER TABLE action_events RENAME TO elsewhere")
        await agent.ask("what is 1 + 1")
        answer = await agent.client.get("/health")
        assert answer.status_code == 503
        check = answer.json()["checks"]["event_log"]
        assert (check["ok"], "no such table" in check["detail"]) == (False, True)
        database.execute("ALTER TABLE elsewhere RENAME TO action_events")
    assert (await agent.client.get("/health")).status_code == 200


@pytest.mark.req("MON-09")
async def test_health_is_503_while_the_registry_cannot_be_read(agent: RunningAgent) -> None:
    await agent.announce(1)
    agent.registry.fail_next = UnreachableError("Consul: no answer within 5 s")
    answer = await agent.client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["checks"]["gateway"] == {"ok": False, "detail": "the registry cannot be read"}


async def samples(agent: RunningAgent, accept: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of `/metrics` as Prometheus' own parser reads it, by name and labels."""
    answer = await agent.client.get("/metrics", headers={"accept": accept})
    read = openmetrics if answer.headers["content-type"].startswith("application/openmetrics") else plain_text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in read(answer.text)
        for sample in family.samples
    }


@pytest.mark.req("MON-03")
@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
async def test_the_metrics_are_what_prometheus_reads_and_move_with_a_turn(
    agent: RunningAgent, accept: str
) -> None:
    calls = ("hearth_tool_calls_total", (("outcome", "success"), ("tool", "calculator")))
    runs = (
        "hearth_workflow_run_seconds_count",
        (("status", "succeeded"), ("workflow", "default_agent_loop")),
    )
    time_of_runs = ("hearth_workflow_run_seconds_sum", runs[1])
    before = await samples(agent, accept)
    for number in (1, 2):
        await agent.ask("what is 1 + 1")
        after = await samples(agent, accept)
        assert after[calls] == before.get(calls, 0) + number
        assert after[runs] == before.get(runs, 0) + number
        assert after[time_of_runs] > before.get(time_of_runs, 0)


@pytest.mark.parametrize(
    "path", ["/", "/static/chat.js", "/static/chat.css", "/static/hearth.svg", "/health"]
)
async def test_every_answer_keeps_a_page_to_itself(agent: RunningAgent, path: str) -> None:
    headers = (await agent.client.get(path)).headers
    policy = dict(rule.strip().partition(" ")[::2] for rule in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert {source for name, source in policy.items() if name.endswith("-src")} == {"'none'", "'self'"}
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/", "/static/chat.js", "/static/chat.css"])
async def test_a_page_never_meets_the_script_of_an_older_one(agent: RunningAgent, path: str) -> None:
    assert (await agent.client.get(path)).headers["cache-control"] == "no-cache"


def test_the_page_names_no_other_host() -> None:
    for file in STATIC.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")  # the name of a format
        assert re.findall(r"(?:https?:)?//[\w-]+\.\w[^\s\"']*", text) == [], file.name


@pytest.mark.parametrize(
    "path", ["/static/", "/static/../__init__.py", "/static/%2e%2e/app.py", "/static/nothing.js"]
)
async def test_nothing_but_the_page_s_files_is_served(agent: RunningAgent, path: str) -> None:
    answer = await agent.client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
