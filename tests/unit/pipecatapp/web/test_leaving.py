"""A client that goes away takes its turn and the request to the model with it."""

import asyncio
import json

import pytest

from clusterkit.http.openai_wire import chunk, sse
from tests.servers.agent import CHAT, RunningAgent, Silence, question, within
from tests.unit.pipecatapp.web.conftest import MakeAgent

HELLO = sse(chunk(id="c", model="main", created=0, delta={"content": "Once upon"}))
BOUND = 1.0  #: seconds from the client's leaving to the end of the request to the model


async def begin(
    agent: RunningAgent, path: str, stream: bool
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request over a connection of its own."""
    host, port = agent.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    content = json.dumps(question("Tell me a story.", stream=stream)).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {agent.token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    writer.write(head.encode() + content)
    await writer.drain()
    return reader, writer


@pytest.mark.parametrize(
    ("path", "stream", "pieces"),
    [
        pytest.param(CHAT, False, [], id="whole, before the first token"),
        pytest.param(CHAT, False, [HELLO], id="whole, in mid-answer"),
        pytest.param(CHAT, True, [], id="streamed, before the first token"),
        pytest.param(CHAT, True, [HELLO], id="streamed, in mid-answer"),
        pytest.param("/api/chat", True, [], id="page, before the first token"),
        pytest.param("/api/chat", True, [HELLO], id="page, in mid-answer"),
    ],
)
async def test_a_client_that_leaves_stops_the_model_and_frees_its_place(
    make_agent: MakeAgent, path: str, stream: bool, pieces: list[bytes]
) -> None:
    async with make_agent(max_concurrent_agents=1, max_waiting_turns=0) as agent:
        for _ in range(2):  # the second needs the place of the first
            silence = Silence(pieces)
            await agent.behaves(silence)
            reader, writer = await begin(agent, path, stream)
            await within(5, silence.asked.wait())
            if stream and pieces:
                await within(5, reader.readuntil(b"Once upon"))
            writer.transport.abort()
            await within(BOUND, silence.left.wait())
        answer = await agent.ask("what is 2 + 2")
        assert answer.json()["choices"][0]["message"]["content"] == "4"
