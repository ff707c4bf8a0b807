"""Secrets vanish from what is stored, whatever they look like and wherever they are."""

import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.telemetry.redaction import HIDDEN, MAX_DEPTH, MAX_TEXT, redact, redact_text
from tests.unit.clusterkit.canaries import CANARIES, Canary

LIKE_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=20), inner, max_size=5),
    max_leaves=20,
)


@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.name)
def test_a_credential_vanishes_from_text(canary: Canary) -> None:
    hidden = redact_text(f"before {canary.text} after")
    assert canary.secret not in hidden
    assert HIDDEN in hidden
    assert hidden.startswith("before ")


@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.name)
def test_a_credential_vanishes_from_every_depth_of_data(canary: Canary) -> None:
    data = {"a": [{"b": (canary.text, {canary.text})}], canary.text: 1, "c": ValueError(canary.text)}
    assert canary.secret not in repr(redact(data))


@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.name)
def test_a_credential_that_straddles_the_cut_vanishes_whole(canary: Canary) -> None:
    for kept in (4, len(canary.text) // 2, len(canary.text) - 4):
        text = "x" * (MAX_TEXT - kept - 1) + " " + canary.text + " " + "y" * 5000
        assert canary.secret[:6] not in redact_text(text)


@pytest.mark.parametrize(
    "key",
    [
        "password", "Password", "DB_PASSWORD", "passwd", "api_key", "apiKey", "x-api-key", "accessToken",
        "client_secret", "clientSecret", "Authorization", "Set-Cookie", "private_key",
        "AWS_SECRET_ACCESS_KEY", "session_id", "totp", "otp", "pin", "credentials", "passphrase",
        "X-Nomad-Token",
    ],
)  # fmt: skip
def test_what_a_key_calls_secret_is_hidden_whatever_it_looks_like(key: str) -> None:
    assert redact({key: "plain words"}) == {key: HIDDEN}
    assert redact({key: ["plain", "words"]}) == {key: HIDDEN}
    assert redact({key: 123456}) == {key: HIDDEN}


@pytest.mark.parametrize("key", ["max_tokens", "prompt_tokens", "tokens"])
def test_counts_of_tokens_are_no_secrets(key: str) -> None:
    assert redact({key: 42}) == {key: 42}


@pytest.mark.parametrize(
    "text",
    [
        "The password must have eight characters.",
        "Ask the secretary about tokens and the token count.",
        "pinned: true, monkey: 1, author: Ada, basic research, bearer of news",
        "see https://example.org/a:b/c@d and mailto:ada@example.org",
        "task-force sk-ill ghost hf hello",
        "17 * 23 = 391",
        "max_tokens: 4096 is too many, prompt tokens = 9000",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact_text(text) == text


def test_missing_secrets_are_told_apart_from_hidden_ones() -> None:
    assert redact({"password": None}) == {"password": None}


def test_long_text_is_cut_and_counted() -> None:
    short = redact_text("x" * (MAX_TEXT + 7))
    assert short == "x" * MAX_TEXT + "… [7 more characters]"


def test_data_deeper_than_any_parser_takes_is_cut_off() -> None:
    deep: Any = "bottom"
    for _ in range(5000):
        deep = [deep]
    assert len(orjson.dumps(redact(deep))) < 10 * MAX_DEPTH
    around: list[Any] = []
    around.append(around)
    assert len(orjson.dumps(redact(around))) < 10 * MAX_DEPTH


def test_text_that_utf8_cannot_hold_is_made_to_fit() -> None:
    assert orjson.loads(orjson.dumps(redact({"\ud800": "a\udfffb"}))) == {"?": "a?b"}


@given(LIKE_JSON)
def test_any_data_is_redacted_into_data_that_can_be_written(value: Any) -> None:
    once = redact(value)
    if _fits(once):
        orjson.dumps(once)
    assert repr(redact(once)) == repr(once)


def _fits(value: Any) -> bool:
    # Python's integers have no bounds, those of the writer have.
    if isinstance(value, dict):
        return all(map(_fits, value.values()))
    if isinstance(value, list):
        return all(map(_fits, value))
    return not isinstance(value, int) or -(2**63) <= value < 2**64


@given(st.text(alphabet="abAB01-_.:/@=\"' \n", max_size=400))
def test_text_grows_at_most_by_what_replaces_it(text: str) -> None:
    hidden = redact_text(text)
    assert len(hidden) <= 2 * len(text) + len(HIDDEN)
    assert redact_text(hidden) == hidden


@pytest.mark.parametrize(
    "piece",
    [
        "a", "-", "eyJ", "eyJaaaaaaaa.", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "://", "://a", "://a:",
        "password", "password=", 'password="', "password ", "secret\\", "bearer ", "basic ", "sk-", "A-Z ",
        "_token", "Cookie: ", "--password ", "a_", "a:a",
    ],
)  # fmt: skip
def test_no_text_makes_redaction_slow(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    started = time.process_time()
    redact_text(text)
    assert time.process_time() - started < 2
