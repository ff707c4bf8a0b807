"""Hearth on one machine, with the real model, used as its people use it."""

import json
import re
from datetime import datetime, timedelta

import httpx
import openai
import pytest

from clusterkit.clock import SystemClock
from tests.houses import House

CLOCK = SystemClock()


def client(house: House) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{house.gateway}/v1", api_key="any", max_retries=0, timeout=120)


def test_a_question_is_answered_by_the_real_model(running_house: House) -> None:
    answer = running_house.hearth("ask", "What is the capital of France?")
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout.split()) >= 1
    assert re.search(r"[A-Za-z]{2}", answer.stdout)


@pytest.mark.parametrize("question", ["what is 17 * 23", "What is 17*23?", "17 times 23"])
def test_arithmetic_is_exact(running_house: House, question: str) -> None:
    assert running_house.hearth("ask", question).stdout.strip() == "391"


def test_the_time_is_exact(running_house: House) -> None:
    before = CLOCK.now() - timedelta(seconds=1)
    said = running_house.hearth("ask", "what time is it").stdout
    clock = re.search(r"\d\d:\d\d:\d\d", said)
    assert clock is not None
    told = datetime.strptime(clock[0], "%H:%M:%S").time()
    local = [moment.astimezone().time().replace(microsecond=0) for moment in (before, CLOCK.now())]
    assert local[0] <= told <= local[1] or local[0] > local[1]


def test_the_system_status_names_every_service_and_the_active_model(running_house: House) -> None:
    said = running_house.hearth("ask", "system status").stdout
    for service in ("expert-main: healthy", "moe-gateway: healthy", "pipecatapp: healthy"):
        assert service in said
    assert "smollm2-135m-instruct" in said


@pytest.mark.parametrize("model", ["hearth", "main"])
def test_the_official_client_gets_a_whole_answer(running_house: House, model: str) -> None:
    done = client(running_house).chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Say hello."}], max_tokens=40
    )
    assert done.object == "chat.completion"
    assert done.choices[0].message.role == "assistant"
    assert done.choices[0].message.content
    assert done.usage is not None
    assert done.usage.completion_tokens > 0
    assert abs(done.created - CLOCK.now().timestamp()) < 600


@pytest.mark.parametrize("model", ["hearth", "main"])
def test_the_official_client_gets_a_streamed_answer(running_house: House, model: str) -> None:
    # Not by chance: llama.cpp names no role when the first character takes several tokens, as an emoji does.
    stream = client(running_house).chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Say hello."}],
        max_tokens=40,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert sum(1 for one in chunks if one.choices and one.choices[0].finish_reason) == 1
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0


@pytest.mark.req("MON-12")
def test_one_trace_id_is_in_the_logs_and_metrics_of_gateway_agent_and_expert(running_house: House) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    answer = httpx.post(
        f"{running_house.gateway}/v1/chat/completions",
        json={"model": "hearth", "messages": [{"role": "user", "content": "Tell me about embers."}]},
        headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
        timeout=120,
    )
    assert answer.headers["x-request-id"] == trace
    for service, event in (
        ("moe_gateway", "chat_request"),
        ("pipecatapp", "turn"),
        ("llama_expert", "expert_request"),
    ):
        assert any(
            line["event"] == event and line.get("trace_id") == trace for line in running_house.log(service)
        ), service
    openmetrics = {"accept": "application/openmetrics-text; version=1.0.0"}
    for service in running_house.json("status")["services"]:
        exposition = httpx.get(f"{service['urls'][0]}/metrics", headers=openmetrics).text
        assert f'trace_id="{trace}"' in exposition, service["name"]


@pytest.mark.req("TEL-03")
def test_one_turn_leaves_every_kind_of_event(running_house: House) -> None:
    feed = f"{running_house.agent}/api/events"
    begin = httpx.get(feed, params={"limit": 1000}).json()["next"]
    running_house.hearth("ask", "what is 2 + 2")
    running_house.hearth("ask", "Say hello.")
    found = httpx.get(feed, params={"after": begin, "limit": 1000}).json()["events"]
    finished = {event["action_type"] for event in found if event["phase"] == "outcome"}
    assert finished == {"tool_call", "llm_inference", "plan_step_execution"}
    calculated = next(event for event in found if event["tool_name"] == "calculator")
    assert calculated["tool_parameters"] == {"expression": "2 + 2"}
    assert calculated["context_snapshot"]["files"][0].endswith("default_agent_loop.yaml")
    asked = [event for event in found if event["action_type"] == "llm_inference"]
    assert asked[-1]["resource_metrics"]["token_count_out"] > 0


@pytest.mark.req("MON-03")
def test_the_counters_of_the_agent_move_with_a_turn(running_house: House) -> None:
    def reading(name: str) -> float:
        text = httpx.get(f"{running_house.agent}/metrics").text
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? ([\d.e+]+)$", text, re.MULTILINE)
        return sum(map(float, found))

    before = reading("hearth_tool_calls_total"), reading("hearth_workflow_run_seconds_count")
    running_house.hearth("ask", "what is 3 + 4")
    assert reading("hearth_tool_calls_total") == before[0] + 1
    assert reading("hearth_workflow_run_seconds_count") == before[1] + 1


def test_status_prints_json_and_says_healthy(running_house: House) -> None:
    status = running_house.json("status")
    assert status["healthy"] is True
    assert {service["name"] for service in status["services"]} == {
        "llama_expert",
        "moe_gateway",
        "pipecatapp",
    }
    assert status["experts"]["expert-main"]["model"] == "smollm2-135m-instruct"


def test_experts_that_resolve_to_the_same_file_share_one_server(running_house: House) -> None:
    expert = next(one for one in running_house.json("status")["services"] if one["name"] == "llama_expert")
    token = (running_house.home / "secrets" / "llama_expert.token").read_text().strip()
    authorization = {"authorization": f"Bearer {token}"}
    shown = httpx.get(f"{expert['urls'][0]}/experts", headers=authorization).json()["experts"]
    assert len(shown) == 7
    assert len({one["pid"] for one in shown}) == 1


def test_the_doctor_finds_nothing_wrong(running_house: House) -> None:
    done = running_house.hearth("doctor", "--json")
    broken = [finding for finding in json.loads(done.stdout) if finding["verdict"] == "broken"]
    assert broken == []
    assert done.returncode == 0


def test_a_second_up_is_refused_and_names_the_first(running_house: House) -> None:
    done = running_house.hearth("up")
    assert done.returncode == 1
    assert "already running" in done.stderr
    assert re.search(r"process \d+", done.stderr)


def test_models_are_listed_with_what_is_here_and_in_use(running_house: House) -> None:
    rows = running_house.json("model", "list")
    bundled = [row for row in rows if row["expert"] == "main"][-1]
    assert bundled["name"] == "smollm2-135m-instruct"
    assert bundled["present"]
    assert bundled["active"]


def test_logs_are_shown_for_one_service_and_refused_for_an_unknown_one(running_house: House) -> None:
    assert "listening" in running_house.hearth("logs", "moe_gateway", "-n", "500").stdout
    unknown = running_house.hearth("logs", "toaster")
    assert unknown.returncode == 1
    assert "moe_gateway" in unknown.stderr


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"", 400, id="empty"),
        pytest.param(b"\xff\xfe{}", 400, id="not UTF-8"),
        pytest.param(b"hello", 400, id="not JSON"),
        pytest.param(b"[]", 400, id="not an object"),
        pytest.param(b"{}", 400, id="no model"),
        pytest.param(b'{"model":"hearth"}', 400, id="no messages"),
        pytest.param(b'{"model":"nobody","messages":[]}', 404, id="unknown model"),
        pytest.param(b'{"model":"main","x":"' + b"a" * 10_000_000 + b'"}', 413, id="10 MB"),
    ],
)
def test_bad_bodies_are_answered_in_the_shape_of_openai(
    running_house: House, body: bytes, status: int
) -> None:
    answer = httpx.post(f"{running_house.gateway}/v1/chat/completions", content=body, timeout=30)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]


def test_services_refuse_callers_without_their_token(running_house: House) -> None:
    expert = next(one for one in running_house.json("status")["services"] if one["name"] == "llama_expert")
    body = {"model": "main", "messages": [{"role": "user", "content": "hi"}]}
    for url in (f"{expert['urls'][0]}/experts/main", running_house.agent):
        assert httpx.post(f"{url}/v1/chat/completions", json=body).status_code == 401


def test_pages_of_other_origins_may_not_use_the_services(running_house: House) -> None:
    for url in (running_house.gateway, running_house.agent):
        assert httpx.get(f"{url}/health", headers={"origin": "https://evil.example"}).status_code == 403
        assert httpx.get(f"{url}/health", headers={"host": "evil.example"}).status_code == 403


def test_secrets_are_readable_by_their_owner_alone_and_in_no_log(running_house: House) -> None:
    secrets = list((running_house.home / "secrets").iterdir())
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}
    logged = "".join(path.read_text() for path in (running_house.home / "logs").iterdir())
    assert not [path.name for path in secrets if path.read_text().strip() in logged]


def test_a_conversation_longer_than_the_models_context_is_still_answered(running_house: House) -> None:
    long = [
        {"role": role, "content": "A fireplace is made of brick, stone or metal and holds a fire. " * 40}
        for _ in range(8)
        for role in ("user", "assistant")
    ]
    answer = httpx.post(
        f"{running_house.gateway}/v1/chat/completions",
        json={"model": "hearth", "messages": [*long, {"role": "user", "content": "Say hello."}]},
        timeout=120,
    )
    assert answer.status_code == 200, answer.text


def test_a_question_longer_than_the_models_context_is_refused_with_the_reason(running_house: House) -> None:
    done = running_house.hearth("ask", "word " * 8000)
    assert done.returncode == 1
    assert "context size" in done.stderr.replace("\n", " ")
