"""Messages: answered on their own channel and then silent, or spoken when they have none."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import httpx
import orjson
import pytest
from fastapi import FastAPI, Request, Response

from clusterkit.errors import HearthError
from clusterkit.http.http_server import HttpServer
from pipecatapp.web.turns import Turn
from tests.servers.agent import RunningAgent, Silence, soon, within
from tests.servers.asgi_server import serving
from tests.unit.pipecatapp.web.conftest import MakeAgent

SECRET = "a-secret-of-this-one-message"


@dataclass
class Receiver:
    """Takes answers from whoever knows the secret of the message; `statuses` are given first."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    attempts: int = 0
    authorizations: list[str] = field(default_factory=list)

    async def take(self, request: Request) -> Response:
        self.attempts += 1
        self.authorizations.append(request.headers["authorization"])
        if self.authorizations[-1] != f"Bearer {SECRET}":
            return Response(status_code=401)
        if self.statuses:
            return Response(status_code=self.statuses.pop(0))
        self.answers.append(await request.json())
        return Response(status_code=204)

    def channel(self, response_id: str = "r1", secret: str = SECRET) -> dict[str, str]:
        return {"response_id": response_id, "url": self.url, "secret": secret}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made, app = Receiver(), FastAPI()
    app.add_route("/answers", made.take, methods=["POST"])
    async with serving(app) as url:
        made.url = f"{url}/answers"
        yield made


async def post(agent: RunningAgent, text: str, respond_to: Any = None) -> httpx.Response:
    body = {"text": text, **({} if respond_to is None else {"respond_to": respond_to})}
    return await agent.client.post("/api/messages", json=body)


def lines_of(stream: httpx.Response) -> AsyncGenerator[str, None]:
    """The lines of an answer; httpx makes a generator of them and tells less."""
    return cast("AsyncGenerator[str, None]", stream.aiter_lines())


@asynccontextmanager
async def listening(agent: RunningAgent) -> AsyncIterator[AsyncIterator[str]]:
    """What is spoken from now on."""
    async with agent.client.stream("GET", "/api/spoken") as stream, aclosing(lines_of(stream)) as lines:
        assert await anext(lines) == ": listening"

        async def texts() -> AsyncGenerator[str, None]:
            async for line in lines:
                if line.startswith("data: "):
                    yield orjson.loads(line.removeprefix("data: "))["text"]

        async with aclosing(texts()) as heard:
            yield heard


@pytest.mark.req("GTW-06")
async def test_a_message_with_a_channel_is_answered_there_once_and_not_spoken(
    agent: RunningAgent, receiver: Receiver
) -> None:
    async with listening(agent) as heard:
        assert (await post(agent, "what is 20 + 1", receiver.channel("first"))).status_code == 202
        await agent.logged("message_answered")
        # What is spoken comes in order, so that this text would come second had the other been spoken.
        await post(agent, "what is 20 + 2")
        assert await within(5, anext(heard)) == "22"
    assert receiver.answers == [{"response_id": "first", "text": "21"}]
    assert receiver.attempts == 1


@pytest.mark.req("GTW-06")
async def test_a_message_without_a_channel_is_spoken_to_everybody_and_posted_nowhere(
    agent: RunningAgent, receiver: Receiver
) -> None:
    async with listening(agent) as one, listening(agent) as other:
        assert (await post(agent, "what is 20 + 2")).status_code == 202
        assert await within(5, anext(one)) == "22"
        assert await within(5, anext(other)) == "22"
    assert receiver.attempts == 0


async def test_a_message_without_a_channel_that_fails_is_logged_and_not_spoken(agent: RunningAgent) -> None:
    async with listening(agent) as heard:
        await post(agent, "Tell me a story.")
        assert (await agent.logged("message_not_answered"))["code"] == "overloaded"
        await post(agent, "what is 20 + 2")
        assert await within(5, anext(heard)) == "22"


class Way(Protocol):
    """A way to hand a request to the agent and get its own answer back."""

    async def ask(self, text: str) -> dict[str, Any]: ...


@dataclass
class InProcess:
    """Straight to the turns, as the voice pipeline and the chat routes do."""

    agent: RunningAgent

    async def ask(self, text: str) -> dict[str, Any]:
        try:
            async with self.agent.agent.turns.run(Turn(text)) as running:
                return {"text": "".join([piece async for piece in running.pieces()])}
        except HearthError as error:
            return {"error": {"code": error.code, "message": str(error)}}


@dataclass
class OverHttp:
    """A message whose answer is posted to a receiver."""

    agent: RunningAgent
    receiver: Receiver
    asked: int = 0

    async def ask(self, text: str) -> dict[str, Any]:
        self.asked += 1
        own = f"response {self.asked}"
        accepted = await post(self.agent, text, self.receiver.channel(own))
        if accepted.status_code != 202:
            error = accepted.json()["error"]
            return {"error": {"code": error["code"], "message": error["message"]}}

        def mine() -> dict[str, Any] | None:
            found = [one for one in self.receiver.answers if one["response_id"] == own]
            return {key: value for key, value in found[0].items() if key != "response_id"} if found else None

        return await soon(mine)


@pytest.fixture(params=["in process", "over HTTP"])
def way(request: pytest.FixtureRequest, agent: RunningAgent, receiver: Receiver) -> Way:
    return InProcess(agent) if request.param == "in process" else OverHttp(agent, receiver)


@pytest.mark.req("GTW-07")
async def test_either_way_the_answer_comes_back(way: Way) -> None:
    assert await way.ask("what is 40 + 2") == {"text": "42"}


@pytest.mark.req("GTW-07")
async def test_either_way_everybody_gets_their_own_answer(way: Way) -> None:
    answers = await asyncio.gather(*(way.ask(f"what is {number} + 500") for number in range(20)))
    assert answers == [{"text": str(number + 500)} for number in range(20)]


@pytest.mark.req("GTW-07")
async def test_either_way_a_failure_is_told_with_its_code(way: Way) -> None:
    failed = await way.ask("Tell me a story.")
    assert failed["error"]["code"] == "overloaded"
    assert "moe-gateway" in failed["error"]["message"]
    assert "text" not in failed


@pytest.mark.req("GTW-07")
@pytest.mark.parametrize("kind", ["in process", "over HTTP"])
async def test_either_way_an_agent_that_is_too_busy_says_so(
    make_agent: MakeAgent, receiver: Receiver, kind: str
) -> None:
    async with make_agent(max_concurrent_agents=1, max_waiting_turns=0) as agent:
        silence = Silence()
        await agent.behaves(silence)
        first = asyncio.create_task(agent.ask("Tell me a story."))
        await within(5, silence.asked.wait())
        way: Way = InProcess(agent) if kind == "in process" else OverHttp(agent, receiver)
        assert (await way.ask("what is 1 + 1"))["error"]["code"] == "too_many_turns"
        first.cancel()


@pytest.mark.req("GTW-07")
async def test_the_receiver_gets_the_secret_of_the_message(agent: RunningAgent, receiver: Receiver) -> None:
    await post(agent, "what is 1 + 1", receiver.channel())
    await soon(lambda: receiver.answers or None)
    assert receiver.authorizations == [f"Bearer {SECRET}"]


@pytest.mark.req("GTW-07")
async def test_an_answer_with_the_wrong_secret_is_refused_and_not_sent_again(
    agent: RunningAgent, receiver: Receiver
) -> None:
    await post(agent, "what is 1 + 1", receiver.channel(secret="the-secret-of-another-one"))
    refused = await agent.logged("message_answer_refused")
    assert (refused["response_id"], refused["status"], refused["log_level"]) == ("r1", 401, "warning")
    assert (receiver.answers, receiver.attempts) == ([], 1)


@pytest.mark.req("GTW-08")
async def test_an_answer_that_comes_too_late_is_dropped_and_logged(
    agent: RunningAgent, receiver: Receiver
) -> None:
    receiver.statuses = [410]
    await post(agent, "what is 1 + 1", receiver.channel("late"))
    refused = await agent.logged("message_answer_refused")
    assert (refused["response_id"], refused["status"]) == ("late", 410)
    assert (receiver.answers, receiver.attempts) == ([], 1)


async def test_a_receiver_that_stumbles_is_tried_again(agent: RunningAgent, receiver: Receiver) -> None:
    receiver.statuses = [500, 503]
    await post(agent, "what is 1 + 1", receiver.channel())
    await agent.logged("message_answered")
    assert receiver.answers == [{"response_id": "r1", "text": "2"}]
    assert receiver.attempts == 3


async def test_an_answer_that_nobody_takes_is_logged_as_lost(agent: RunningAgent, receiver: Receiver) -> None:
    receiver.statuses = [500] * 10
    await post(agent, "what is 1 + 1", receiver.channel())
    assert (await agent.logged("message_answer_lost"))["problem"] == "status 500"
    assert receiver.attempts == 3
    nobody = {**receiver.channel("gone"), "url": "http://127.0.0.1:9/answers"}
    await post(agent, "what is 1 + 1", nobody)
    await soon(lambda: [one for one in agent.logs if one.get("response_id") == "gone"] or None)


@pytest.mark.req("GTW-07")
@pytest.mark.parametrize(
    "secret", [None, "", "too short", "ein-Schlüssel-für-eine-Nachricht", "two words " * 3]
)
async def test_a_channel_without_a_proper_secret_is_refused(
    agent: RunningAgent, receiver: Receiver, secret: str | None
) -> None:
    channel = {**receiver.channel(), "secret": secret}
    refused = await post(agent, "what is 1 + 1", channel)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "respond_to.secret"
    without = await post(agent, "what is 1 + 1", {key: channel[key] for key in ("response_id", "url")})
    assert without.status_code == 400
    assert receiver.attempts == 0


@pytest.mark.parametrize(
    ("url", "code", "param"),
    [
        ("http://evil.example/answers", "foreign_callback", "respond_to.url"),
        ("http://127.0.0.1.evil.example/answers", "foreign_callback", "respond_to.url"),
        ("http://localhost@evil.example/answers", "invalid_request_error", "respond_to.url"),
        ("http://me:pass@127.0.0.1/answers", "invalid_request_error", "respond_to.url"),
        ("http://10.0.0.7/answers", "foreign_callback", "respond_to.url"),
        ("file:///etc/passwd", "invalid_request_error", "respond_to.url"),
    ],
)
async def test_answers_go_to_no_foreign_host(agent: RunningAgent, url: str, code: str, param: str) -> None:
    channel = {"response_id": "r1", "url": url, "secret": SECRET}
    refused = await post(agent, "what is 1 + 1", channel)
    assert refused.status_code == 400
    assert (refused.json()["error"]["code"], refused.json()["error"]["param"]) == (code, param)


@pytest.mark.parametrize("text", [b"", b"   ", b"x" * 20_001, b"\\ud800"])
async def test_a_message_that_says_nothing_usable_is_refused(agent: RunningAgent, text: bytes) -> None:
    headers = {"content-type": "application/json"}
    refused = await agent.client.post("/api/messages", content=b'{"text": "%b"}' % text, headers=headers)
    assert refused.status_code == 400
    assert "text" in refused.json()["error"]["message"]


async def test_the_secret_of_a_message_is_in_no_log(agent: RunningAgent, receiver: Receiver) -> None:
    await post(agent, "what is 1 + 1", receiver.channel())
    await agent.logged("message_answered")
    receiver.statuses = [410]
    await post(agent, "what is 1 + 1", receiver.channel("late"))
    await agent.logged("message_answer_refused")
    assert SECRET not in str(agent.logs)


async def test_more_messages_than_can_be_worked_on_are_refused(make_agent: MakeAgent) -> None:
    async with make_agent() as agent:
        await agent.behaves(Silence())
        statuses = [(await post(agent, "Tell me a story.")).status_code for _ in range(65)]
        assert statuses == [202] * 64 + [429]


async def test_an_open_page_does_not_hold_up_the_end(agent: RunningAgent) -> None:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        server = HttpServer(agent.agent.app, grace_seconds=30, at_shutdown=agent.agent.at_shutdown)
        serving_it = asyncio.create_task(server.serve(sockets=[opened]))
        url = f"http://127.0.0.1:{opened.getsockname()[1]}/api/spoken"
        async with agent.client.stream("GET", url) as stream, aclosing(lines_of(stream)) as lines:
            assert await within(5, anext(lines)) == ": listening"
            server.stop()
            assert [line async for line in lines if line] == []
        await within(5, serving_it)
