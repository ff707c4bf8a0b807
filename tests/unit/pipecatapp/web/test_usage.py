"""The tokens of an answer: counted where models are called, whatever nodes give out and fail at."""

from pathlib import Path
from typing import Any

import pytest

from clusterkit.http.openai_wire import chunk, sse, usage
from tests.servers.agent import RunningAgent, events_of
from tests.servers.raw_upstream import EVENT_STREAM, Exchange
from tests.unit.pipecatapp.web.conftest import MakeAgent

SHARED: Any = {"id": "c", "model": "main", "created": 0}

PLUGIN = '''
"""A node type whose output has a name of its own meaning."""
from pipecatapp.nodes.base import Node, NodeConfig


class WeighConfig(NodeConfig):
    text: str


class WeighNode(Node[WeighConfig]):
    """Says how much of something is used."""

    type = "weigh"
    Config = WeighConfig
    outputs = {"text": "text", "usage": "number"}

    async def run(self, config, context):
        return {"text": config.text, "usage": 0.75}
'''
WORKFLOW = """
schema: 1
name: default_agent_loop
inputs: {text: {type: text}}
outputs: {reply: "${{ say.text }}"}
nodes:
  weigh: {type: weigh, text: "${{ inputs.text }}"}
  say: {type: output, text: "${{ weigh.text }}"}
"""


async def usage_of(agent: RunningAgent, *, stream: bool) -> Any:
    """What an answer says of its tokens."""
    if not stream:
        answer = await agent.ask("Tell me a story.")
        assert answer.status_code == 200, answer.text
        return answer.json()["usage"]
    answer = await agent.ask("Tell me a story.", stream=True, stream_options={"include_usage": True})
    *events, end = events_of(answer.text)
    assert end == "[DONE]"
    return events[-1]["usage"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_node_s_own_output_called_usage_is_no_count_of_tokens(
    make_agent: MakeAgent, tmp_path: Path, stream: bool
) -> None:
    for folder, name, text in (
        ("plugins", "weigh.py", PLUGIN),
        ("flows", "default_agent_loop.yaml", WORKFLOW),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    async with make_agent(plugins_dir=tmp_path / "plugins", workflows_dir=tmp_path / "flows") as agent:
        assert await usage_of(agent, stream=stream) == usage(0, 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_tokens_of_an_attempt_that_was_cut_off_count_as_far_as_the_server_told_them(
    agent: RunningAgent, stream: bool
) -> None:
    asked: list[bytes] = []

    async def stumble_once(exchange: Exchange) -> None:
        asked.append(exchange.body)
        await exchange.head(200, EVENT_STREAM)
        if len(asked) == 1:
            begun = chunk(**SHARED, delta={"content": "Once"}, usage=usage(10, 2))
            await exchange.chunk(sse(begun))
            exchange.hang_up()
            return
        await exchange.chunk(sse(chunk(**SHARED, delta={"content": "Once upon a time."})))
        await exchange.chunk(sse(chunk(**SHARED, delta={}, finish_reason="stop")))
        await exchange.chunk(sse(chunk(**SHARED, delta=None, usage=usage(10, 5))))
        await exchange.chunk(b"")

    await agent.behaves(stumble_once)
    assert await usage_of(agent, stream=stream) == usage(20, 7)
    assert len(asked) == 2
    rows = (await agent.client.get("/api/events", params={"action_type": "llm_inference"})).json()["events"]
    counted = {row["status"]: row["resource_metrics"] for row in rows if row["phase"] == "outcome"}
    assert (counted["failure"]["token_count_in"], counted["failure"]["token_count_out"]) == (10, 2)
