"""What the agent knows of the main model, and what of a conversation still fits it."""

import pytest

from clusterkit.ports.registry import Instance
from pipecatapp.turns.conversation import CHARACTERS_PER_TOKEN_OF_CONTEXT, recent
from pipecatapp.turns.main_model import MainModel, main_model

MAIN = "expert-main"


def expert(*, healthy: bool = True, **meta: str) -> Instance:
    return Instance(service=MAIN, id="a", address="127.0.0.1", port=1, healthy=healthy, meta=meta)


def conversation(*lengths: int) -> list[dict[str, str]]:
    return [
        {"role": "assistant" if number % 2 else "user", "content": "x" * length}
        for number, length in enumerate(lengths)
    ]


def test_what_the_expert_announces_is_known() -> None:
    found = main_model([expert(model="big", tools="native", context="8192")], MAIN)
    assert found == MainModel(name="big", tools=True, context=8192)
    assert main_model([expert(model="small", tools="none", built_in="true")], MAIN).built_in


@pytest.mark.parametrize(
    ("mode", "offered"), [("native", True), ("repair", True), ("schema", True), ("none", False)]
)
def test_tools_are_offered_in_every_mode_but_none(mode: str, offered: bool) -> None:
    assert main_model([expert(model="m", tools=mode)], MAIN).tools is offered


@pytest.mark.parametrize("instances", [[], [expert(healthy=False, model="big", tools="native")]])
def test_an_expert_that_is_away_is_offered_nothing(instances: list[Instance]) -> None:
    assert main_model(instances, MAIN) == MainModel()


def test_a_conversation_that_fits_is_kept_whole() -> None:
    said = conversation(10, 20, 30, 40)
    assert recent(said, 4096) == said
    assert recent(said, None) == said


def test_the_oldest_part_of_a_long_conversation_is_left_out() -> None:
    room = int(100 * CHARACTERS_PER_TOKEN_OF_CONTEXT)
    said = conversation(room, 10, 20, 30)
    assert recent(said, 100) == said[2:]


def test_a_long_question_leaves_less_room_for_what_was_said_before() -> None:
    room = int(100 * CHARACTERS_PER_TOKEN_OF_CONTEXT)
    said = conversation(room - 50, 10, 20, 10)
    assert recent(said, 100, "x" * 10) == said
    assert recent(said, 100, "x" * 40) == said[2:]
    assert recent(said, 100, "x" * room) == []


def test_what_is_kept_begins_with_a_question() -> None:
    said = conversation(1000, 10, 1000, 10, 10, 10)
    assert [message["role"] for message in recent(said, 100)] == ["user", "assistant"]


def test_nothing_is_kept_when_even_the_last_message_is_too_long() -> None:
    assert recent(conversation(10, 100_000), 100) == []
