"""The proxied path through a whole gateway: what reaches the upstream, and what comes back."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.http.openai_wire import ApiError
from clusterkit.http.tokens import ensure_token
from moe_gateway.data_plane import model_of
from moe_gateway.settings import GatewaySettings
from tests.servers.gateway import CHAT, RunningGateway, running_gateway
from tests.servers.raw_upstream import EVENT_STREAM, Behaviour, Exchange

ASK = {"model": "main", "messages": [{"role": "user", "content": "hello"}]}


async def ok(exchange: Exchange) -> None:
    await exchange.answer(b'{"object": "chat.completion"}')


@pytest.mark.req("GTW-09")
async def test_the_request_arrives_byte_for_byte(gateway: RunningGateway) -> None:
    upstream = await gateway.upstream("expert-main", ok)
    body = (
        b'{ "messages":[{"role":"system","content":"\xe2\x82\xac \\u20ac"},\r\n'
        b' {"role":"user","content":"q"}],'
        b'"temperature":0.70,"max_tokens":1e2,"stop":["\\n"], "tools":[{"type":"function","function":'
        b'{"name":"f","parameters":{"b":1,"a":2}}}],"tool_choice":"auto",'
        b'"cache_prompt":true,"model" :"main"}\n'
    )
    response = await gateway.chat(body)
    assert response.status_code == 200
    [seen] = upstream.requests
    assert seen.body == body
    assert (seen.method, seen.target) == ("POST", "/experts/main/v1/chat/completions")


@pytest.mark.req("GTW-09", "GTW-11")
async def test_each_model_name_reaches_its_own_service(gateway: RunningGateway) -> None:
    main = await gateway.upstream("expert-main", ok)
    coding = await gateway.upstream("expert-coding", ok)
    agent = await gateway.upstream("pipecatapp", ok)
    services = []
    for model in ("main", "auto", "coding", "hearth"):
        response = await gateway.chat({**ASK, "model": model})
        services.append(response.headers["x-hearth-model"])
    assert services == ["expert-main", "expert-main", "expert-coding", "pipecatapp"]
    assert [len(upstream.requests) for upstream in (main, coding, agent)] == [2, 1, 1]


async def test_the_upstream_gets_its_own_token_and_never_the_clients_key(gateway: RunningGateway) -> None:
    expert = await gateway.upstream("expert-main", ok)
    agent = await gateway.upstream("pipecatapp", ok)
    for model in ("main", "hearth"):
        await gateway.chat({**ASK, "model": model}, authorization="Bearer sk-client", cookie="a=b")
    secrets_dir = gateway.settings.secrets_dir
    for upstream, service in ((expert, "llama_expert"), (agent, "pipecatapp")):
        [seen] = upstream.requests
        assert seen.headers["authorization"] == f"Bearer {ensure_token(secrets_dir, service)}"
        assert "sk-client" not in str(seen.headers)
        assert "cookie" not in seen.headers


async def test_the_expert_is_told_how_the_client_wants_its_tools_called(gateway: RunningGateway) -> None:
    upstream = await gateway.upstream("expert-main", ok)
    await gateway.chat(ASK, **{"X-Hearth-Tools": "native"})
    await gateway.chat(ASK)
    asked, silent = upstream.requests
    assert asked.headers["x-hearth-tools"] == "native"
    assert "x-hearth-tools" not in silent.headers


@pytest.mark.req("MON-12")
async def test_one_trace_id_is_in_the_answer_the_log_the_metrics_and_the_next_service(
    gateway: RunningGateway,
) -> None:
    upstream = await gateway.upstream("expert-main", ok)
    trace_id, parent = "a" * 32, "b" * 16
    response = await gateway.chat(ASK, traceparent=f"00-{trace_id}-{parent}-01")
    assert response.headers.get_list("x-request-id") == [trace_id]
    passed = upstream.requests[0].headers
    assert passed["x-request-id"] == trace_id
    version, passed_id, passed_parent, _ = passed["traceparent"].split("-")
    assert (version, passed_id) == ("00", trace_id)
    assert passed_parent != parent
    metrics = await gateway.client.get("/metrics", headers={"accept": "application/openmetrics-text"})
    assert f'trace_id="{trace_id}"' in metrics.text


@pytest.mark.req("MON-03")
async def test_every_request_is_logged_and_counted(gateway: RunningGateway) -> None:
    await gateway.upstream("expert-main", ok)
    await gateway.chat(ASK)
    await gateway.chat({**ASK, "model": "made-up-name"})
    lines = [line for line in gateway.logs if line["event"] == "chat_request"]
    assert [(line["model"], line["status"], line["outcome"]) for line in lines] == [
        ("main", 200, "complete"),
        ("unknown", 404, "model_not_found"),
    ]
    assert all(isinstance(line["ms"], float) for line in lines)
    text = (await gateway.client.get("/metrics")).text
    assert 'hearth_gateway_request_seconds_count{model="main",status="200"} 1.0' in text
    assert 'hearth_gateway_request_seconds_count{model="unknown",status="404"} 1.0' in text
    assert "hearth_gateway_in_flight 0.0" in text
    assert "made-up-name" not in text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b'{"model": "main"', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'["model"]', "array"),
        (b'"model"', "string"),
        (b"null", "null"),
        (b"1.5", "number"),
        (b'{"messages": []}', "'model' is missing"),
        (b'{"model": null}', "'model' is null"),
        (b'{"model": ["main"]}', "'model' is array"),
    ],
)
async def test_a_bad_body_is_refused_with_what_is_wrong(
    gateway: RunningGateway, body: bytes, words: str
) -> None:
    response = await gateway.chat(body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"
    assert "x-request-id" in response.headers


@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
def test_whatever_is_sent_is_a_model_name_or_a_400(body: bytes) -> None:
    refused = None
    try:
        assert isinstance(model_of(body), str)
    except ApiError as error:
        refused = error
    assert refused is None or refused.status == 400


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_refused(gateway: RunningGateway, method: str) -> None:
    response = await gateway.client.request(method, CHAT)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_beyond_the_limit_is_refused(settings: GatewaySettings, announced: bool) -> None:
    small = settings.model_copy(update={"max_body_bytes": 2000})

    async def piecemeal() -> Any:
        for _ in range(30):
            yield b"x" * 100

    async with running_gateway(small) as gateway:
        content = b"x" * 3000 if announced else piecemeal()
        response = await gateway.client.post(CHAT, content=content)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "request_too_large"


async def test_a_body_in_pieces_arrives_whole(gateway: RunningGateway) -> None:
    upstream = await gateway.upstream("expert-main", ok)
    body = json.dumps({**ASK, "padding": "x" * 200_000}).encode()

    async def piecemeal() -> Any:
        for at in range(0, len(body), 10_000):
            yield body[at : at + 10_000]

    response = await gateway.client.post(CHAT, content=piecemeal())
    assert response.status_code == 200
    assert upstream.requests[0].body == body


async def test_a_client_that_leaves_while_sending_is_only_noted(gateway: RunningGateway) -> None:
    upstream = await gateway.upstream("expert-main", ok)
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 500\r\n\r\n{{".encode())
    await writer.drain()
    writer.close()
    assert (await gateway.first_logged())["status"] == 499
    assert upstream.requests == []


async def test_an_unknown_model_is_not_found(gateway: RunningGateway) -> None:
    await gateway.upstream("expert-main", ok)
    response = await gateway.chat({**ASK, "model": "gpt-9"})
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "main" in error["message"]


async def test_a_known_model_that_is_down_asks_to_come_back(gateway: RunningGateway) -> None:
    await gateway.announce("expert-main", 1, healthy=False, detail="loading")
    response = await gateway.chat(ASK)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert response.json()["error"]["code"] == "model_unavailable"


async def unavailable(exchange: Exchange) -> None:
    await exchange.answer(b'{"error":{"message":"loading"}}', status=503)


async def test_an_instance_that_is_gone_or_busy_is_passed_over(gateway: RunningGateway) -> None:
    await gateway.announce("expert-main", 1)  # nobody listens there
    busy = await gateway.upstream("expert-main", unavailable)
    good = await gateway.upstream("expert-main", ok)
    statuses = [(await gateway.chat(ASK)).status_code for _ in range(6)]
    assert statuses == [200] * 6
    assert len(good.requests) == 6
    assert busy.requests


async def test_when_every_instance_is_busy_the_client_hears_it(gateway: RunningGateway) -> None:
    await gateway.upstream("expert-main", unavailable)
    response = await gateway.chat(ASK)
    assert response.status_code == 503
    assert response.json() == {"error": {"message": "loading"}}
    assert int(response.headers["retry-after"]) > 0


async def test_when_every_instance_is_gone_the_client_hears_it(gateway: RunningGateway) -> None:
    await gateway.announce("expert-main", 1)
    response = await gateway.chat(ASK)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert response.json()["error"]["code"] == "upstream_refused"


async def test_a_request_that_may_have_been_worked_on_is_not_sent_twice(gateway: RunningGateway) -> None:
    async def crash(exchange: Exchange) -> None:
        exchange.reset()

    upstreams = [await gateway.upstream("expert-main", crash) for _ in range(2)]
    assert (await gateway.chat(ASK)).status_code == 502
    assert sum(len(upstream.requests) for upstream in upstreams) == 1


@pytest.mark.req("GTW-08")
@pytest.mark.parametrize(("model", "service"), [("main", "expert-main"), ("hearth", "pipecatapp")])
async def test_a_model_that_never_answers_is_a_504(
    settings: GatewaySettings, model: str, service: str
) -> None:
    async def silence(exchange: Exchange) -> None:
        await exchange.until_closed()

    limits = settings.model_copy(update={"first_byte_timeout_s": 0.05, "idle_timeout_s": 60.0})
    async with running_gateway(limits) as gateway:
        await gateway.upstream(service, silence)
        response = await gateway.chat({**ASK, "model": model})
        assert response.status_code == 504
        assert response.json()["error"]["code"] == "upstream_timeout"


async def test_errors_of_the_model_server_pass_as_they_are(gateway: RunningGateway) -> None:
    body = b'{"error":{"message":"context too long","type":"invalid_request_error","code":400,"n_ctx":1}}'

    async def refuse(exchange: Exchange) -> None:
        await exchange.answer(body, status=400)

    await gateway.upstream("expert-main", refuse)
    response = await gateway.chat(ASK)
    assert (response.status_code, response.content) == (400, body)


async def not_begun(_: Exchange) -> None:
    pass


async def streaming(exchange: Exchange) -> None:
    await exchange.head(200, EVENT_STREAM)
    await exchange.chunk(b'data: {"choices":[]}\n\n')


async def in_a_whole_answer(exchange: Exchange) -> None:
    await exchange.head(200, {"content-length": "1000"})
    await exchange.send(b"{")


@pytest.mark.parametrize("begin", [not_begun, streaming, in_a_whole_answer])
async def test_a_client_that_leaves_stops_the_model(gateway: RunningGateway, begin: Behaviour) -> None:
    begun, closed = asyncio.Event(), asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await begin(exchange)
        begun.set()
        await exchange.until_closed()
        closed.set()

    await gateway.upstream("expert-main", answer)
    asking = asyncio.create_task(gateway.chat(ASK))
    await begun.wait()
    asking.cancel()
    async with asyncio.timeout(1):
        await closed.wait()
    line = await gateway.first_logged()
    assert (line["status"], line["outcome"]) == (499, "client_left")


@pytest.mark.req("GTW-05")
async def test_a_hundred_at_once_each_get_their_own_answer(gateway: RunningGateway) -> None:
    count, rounds = 100, 2  # the second round finds the first one's connections idle
    all_there = [asyncio.Event() for _ in range(rounds)]
    upstream = None

    async def echo(exchange: Exchange) -> None:
        assert upstream is not None
        if len(upstream.requests) % count == 0:
            all_there[len(upstream.requests) // count - 1].set()
        question = json.loads(exchange.body)
        text = question["messages"][0]["content"]
        await all_there[int(text) // count].wait()  # so that all of a round are under way together
        if question.get("stream"):
            await exchange.stream([b"data: " + part.encode() + b"\n\n" for part in text])
        else:
            await exchange.answer(json.dumps({"text": text}).encode())

    upstream = await gateway.upstream("expert-main", echo)

    async def ask(number: int) -> None:
        secret = f"{number:05d}"
        body = {**ASK, "messages": [{"role": "user", "content": secret}], "stream": number % 2 == 1}
        response = await gateway.chat(body)
        got = (
            response.text.replace("data: ", "").replace("\n", "")
            if body["stream"]
            else response.json()["text"]
        )
        assert got == secret

    for first in range(0, rounds * count, count):
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for number in range(first, first + count):
                group.create_task(ask(number))


@pytest.mark.req("CLU-04")
async def test_two_instances_share_the_work(gateway: RunningGateway) -> None:
    first = await gateway.upstream("expert-main", ok)
    second = await gateway.upstream("expert-main", ok)
    for _ in range(10):
        await gateway.chat(ASK)
    assert (len(first.requests), len(second.requests)) == (5, 5)
