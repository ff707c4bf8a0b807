"""What a model thinks before it answers is hidden, however it is cut into pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecatapp.nodes.reasoning import HiddenReasoning


def shown(*pieces: str) -> str:
    reasoning = HiddenReasoning()
    return "".join([*map(reasoning.add, pieces), reasoning.end()])


TEXTS = [
    ("It is two.", "It is two."),
    ("<think>one and one</think>\n\nIt is two.", "It is two."),
    ("<thinking>one < two > one</thinking>It is two.", "It is two."),
    ("It is<think>hm</think> two.", "It is two."),
    ("<think>a</think>b<think>c</think>d", "bd"),
    ("<think>never closed", ""),
    ("It is two.<think>or is it", "It is two."),
    ("<think></think>", ""),
    ("Write `<think>` first, and `</think>` behind it.", "Write `<think>` first, and `</think>` behind it."),
    ("1 < 2 and <thin", "1 < 2 and <thin"),
    ("a <b>bold</b> word", "a <b>bold</b> word"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "left"), TEXTS)
def test_what_is_between_the_tags_is_hidden_and_the_rest_is_shown(text, left):
    assert shown(text) == left


@given(st.sampled_from(TEXTS), st.data())
def test_it_does_not_matter_where_the_pieces_end(example, data):
    text, left = example
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=len(text))))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert shown(*pieces) == left


def test_what_cannot_be_a_tag_any_more_is_shown_at_once():
    reasoning = HiddenReasoning()
    assert [reasoning.add(piece) for piece in ("It <", "thi", "s is", " shown", "<think>")] == [
        "It ", "", "<this is", " shown", ""
    ]  # fmt: skip
