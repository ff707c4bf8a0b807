import pytest

from pipecatapp.workflow.types import compatible, convert, parse, problem


@pytest.mark.parametrize(
    ("source", "target", "fits"),
    [
        ("text", "text", True),
        ("number", "text", True),
        ("message", "text", True),
        ("message", "object", True),
        ("messages", "list[message]", True),
        ("list[message]", "list[any]", True),
        ("list[number]", "list[text]", False),
        ("stream[text]", "text", True),
        ("text", "stream[text]", True),
        ("any", "tool_call", True),
        ("text", "any", True),
        ("text", "number", False),
        ("object", "message", False),
        ("bool", "text", False),
        ("text", "list[text]", False),
    ],
)
def test_what_may_flow_where(source, target, fits):
    assert compatible(parse(source), parse(target)) is fits


def test_an_unknown_type_is_refused_naming_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown type 'strng' \(known: text, number, "):
        parse("list[strng]")


@pytest.mark.parametrize(
    ("value", "wire", "wrong"),
    [
        ("a", "text", None),
        (1, "text", "expected text, found number"),
        (True, "number", "expected number, found bool"),
        (float("nan"), "number", "expected number, found number"),
        ([{"role": "user"}], "list[message]", None),
        (["a"], "list[message]", "item 0: expected message, found text"),
        ("a", "list[text]", "expected list[text], found text"),
        (None, "object", "expected object, found null"),
        (object(), "any", None),
    ],
)
def test_a_value_of_the_wrong_type_is_described(value, wire, wrong):
    assert problem(value, wire) == wrong


def test_only_the_allowed_conversions_are_made():
    assert convert(2.0, "text") == "2"
    assert convert({"role": "user", "content": "hi"}, "text") == "hi"
    assert convert(True, "text") is True
    assert convert("2", "number") == "2"
