"""The wire format is what OpenAI's own client reads."""

import orjson
import pytest
from openai.types.chat import ChatCompletion
from openai.types.chat import ChatCompletionChunk as Chunk
from pydantic import ValidationError

from clusterkit.http.openai_wire import (
    DONE,
    ApiError,
    ChatMessage,
    ChatRequest,
    chunk,
    completion,
    error_body,
    sse,
    usage,
)

ASK = {"model": "main", "messages": [{"role": "user", "content": "hello"}]}


def test_a_completion_is_one_that_the_official_client_knows() -> None:
    made = completion(id="c1", model="m", created=7, text="hé", finish_reason="length", usage=usage(3, 4))
    read = ChatCompletion.model_validate(made, strict=True)
    assert (read.choices[0].message.content, read.choices[0].finish_reason) == ("hé", "length")
    assert read.usage is not None
    assert (read.usage.prompt_tokens, read.usage.completion_tokens, read.usage.total_tokens) == (3, 4, 7)


def test_chunks_are_ones_that_the_official_client_knows() -> None:
    delta = Chunk.model_validate(chunk(id="c1", model="m", created=7, delta={"content": "h"}), strict=True)
    assert (delta.choices[0].delta.content, delta.choices[0].finish_reason) == ("h", None)
    end = chunk(id="c1", model="m", created=7, delta={}, finish_reason="stop")
    assert Chunk.model_validate(end, strict=True).choices[0].finish_reason == "stop"
    counted = Chunk.model_validate(
        chunk(id="c1", model="m", created=7, delta=None, usage=usage(1, 2)), strict=True
    )
    assert counted.choices == []
    assert counted.usage is not None


def test_an_event_is_one_line_of_data() -> None:
    event = sse({"text": "a\nb\r\n\u2028"})
    assert event.startswith(b"data: {")
    assert event.endswith(b"}\n\n")
    assert event.count(b"\n") == 2
    assert orjson.loads(event.removeprefix(b"data: ")) == {"text": "a\nb\r\n\u2028"}
    assert DONE == b"data: [DONE]\n\n"


def test_an_error_has_every_field_and_a_code() -> None:
    assert error_body("no", "server_error") == {
        "error": {"message": "no", "type": "server_error", "param": None, "code": "server_error"}
    }
    error = ApiError("wrong", status=400, code="bad", param="messages.0")
    assert orjson.loads(error.body) == error_body("wrong", "invalid_request_error", "bad", "messages.0")
    assert dict(error.headers) == {
        b"content-type": b"application/json",
    }


@pytest.mark.parametrize(("seconds", "header"), [(0, b"1"), (0.2, b"1"), (2.4, b"2"), (90, b"90")])
def test_a_client_is_told_whole_seconds_to_wait(seconds: float, header: bytes) -> None:
    assert dict(ApiError("busy", status=503, retry_after=seconds).headers)[b"retry-after"] == header


def test_fields_we_do_not_read_pass_through() -> None:
    asked = {**ASK, "temperature": 0.5, "tools": [{"type": "function"}]}
    asked["messages"] = [{"role": "tool", "content": "x", "tool_call_id": "call_0"}]
    assert ChatRequest.model_validate(asked).model_dump(exclude_unset=True) == asked


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": ASK["messages"]},
        {"model": "main"},
        {**ASK, "messages": []},
        {**ASK, "messages": "hello"},
        {**ASK, "messages": [{"content": "hello"}]},
        {**ASK, "messages": [{"role": "king", "content": "hello"}]},
        {**ASK, "messages": [{"role": "user", "content": 7}]},
        {**ASK, "stream": "sometimes"},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ChatRequest.model_validate(wrong)


def test_the_text_of_a_message_leaves_out_what_is_no_text() -> None:
    parts = [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:"}},
        {"type": "text", "text": "this"},
    ]
    assert ChatMessage(role="user", content=parts).text() == "see\nthis"
    assert ChatMessage(role="user", content="plain").text() == "plain"
    assert ChatMessage(role="assistant").text() == ""


@pytest.mark.parametrize(("options", "wants"), [(None, False), ({}, False), ({"include_usage": True}, True)])
def test_usage_is_streamed_when_asked_for(options: dict[str, bool] | None, wants: bool) -> None:
    assert ChatRequest.model_validate({**ASK, "stream_options": options}).wants_usage is wants
