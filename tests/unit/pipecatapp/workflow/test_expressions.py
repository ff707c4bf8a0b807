import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipecatapp.workflow.expressions import Compiler, ExpressionError, Reference
from pipecatapp.workflow.functions import MAX_TEXT

NAMES = {
    "text": "hello",
    "number": 3,
    "half": 0.5,
    "yes": True,
    "nothing": None,
    "list": [1, 2, 3],
    "calls": [{"name": "a", "risk": "read"}, {"name": "b", "risk": "host"}],
    "thing": {"items": [1], "keys": "mine", "get": {"deep": "value"}, "copy": None},
}


def value(text):
    template = Compiler().compile(text, "a.yaml:3:5")
    assert template is not None
    return template.evaluate(NAMES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${{ number }}", 3),
        ("${{ yes }}", True),
        ("${{ list }}\n", [1, 2, 3]),
        ("${{ text }} world", "hello world"),
        ("n=${{ number }} h=${{ half }} y=${{ yes }} l=${{ list }}", "n=3 h=0.5 y=true l=[1,2,3]"),
        ("${{ thing.items }}", [1]),
        ("${{ thing.keys }}", "mine"),
        ("${{ thing.get.deep }}", "value"),
        ("${{ thing['keys'] }}", "mine"),
        ("${{ list[-1] }}", 3),
        ("${{ list[1:] }}", [2, 3]),
        ("${{ calls[1].name }}", "b"),
        ("${{ number + 1 - 2 }}", 2),
        ("${{ -number }}", -3),
        ("${{ 'a' + text }}", "ahello"),
        ("${{ list + [4] }}", [1, 2, 3, 4]),
        ("${{ 'n' ~ number ~ yes }}", "n3true"),
        ("${{ 1 < number <= 3 }}", True),
        ("${{ number == 3 and not yes }}", False),
        ("${{ nothing or text }}", "hello"),
        ("${{ 2 in list and 'ell' in text and 'keys' in thing and 9 not in list }}", True),
        ("${{ 'big' if number > 2 else 'small' }}", "big"),
        ("${{ {'a': {'b': number}} }}", {"a": {"b": 3}}),
        ("${{ '}}' }}", "}}"),
        ("${{ list | length }}", 3),
        ("${{ calls | map_attr('name') | join(', ') }}", "a, b"),
        ("${{ calls | map_attr('risk') | max_or('none') }}", "host"),
        ("${{ [] | max_or('none') }}", "none"),
        ("${{ list | first }}${{ list | last }}", "13"),
        ("${{ nothing | default('x') }}", "x"),
        ("${{ ' A ' | trim | lower }}${{ text | upper }}", "aHELLO"),
        ("${{ calls[0] | json }}", '{"name":"a","risk":"read"}'),
        ("${{ user(text) }}", {"role": "user", "content": "hello"}),
        ("${{ tool_result('c1', 5) }}", {"role": "tool", "tool_call_id": "c1", "content": "5"}),
    ],
)
def test_an_allowed_expression_has_a_value(text, expected):
    assert value(text) == expected


def test_text_without_an_expression_is_left_alone_with_all_that_jinja_would_read():
    for text in ("plain", "{{ number }}", "{% if x %}", "{# comment #}", "# line", "$ {{ x }}"):
        assert Compiler().compile(text) is None
    assert value("{{ a }} {% b %} {# c #} ${{ number }}") == "{{ a }} {% b %} {# c #} 3"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("${{ 'a' * 10**9 }}", r"`\*` is not allowed"),
        ("${{ 2 ** 9 }}", r"`\*\*` is not allowed"),
        ("${{ 4 / 2 }}", "`/` is not allowed"),
        ("${{ text.upper() }}", "only the functions assistant, "),
        ("${{ range(9) }}", "unknown function 'range'"),
        ("${{ text | attr('x') }}", "unknown filter 'attr'"),
        ("${{ list | join('a', 'b') }}", "takes 0 or 1 arguments, not 2"),
        ("${{ user(content=text) }}", "plain arguments only"),
        ("${{ text is defined }}", "tests are not allowed"),
        ("${{ (1, 2) }}", "write a list"),
        ("${{ 'a' if yes }}", "needs an `else`"),
        ("${{ 1e999 }}", "too large"),
        ("${{ }}", "Expected an expression"),
        ("${{ number", "unexpected end"),
        ("${{ " + "(" * 900 + "1" + ")" * 900 + " }}", "too deep"),
        ("${{ " + "not " * 80 + "yes }}", "nested deeper"),
        ("${{ " + "1 + " * 2000 + "1 }}", "longer than 4000"),
    ],
)
def test_what_is_not_allowed_is_refused_when_it_is_compiled(text, complaint):
    with pytest.raises(ExpressionError, match=complaint) as caught:
        Compiler().compile(text, "a.yaml:3:5")
    assert str(caught.value).startswith("a.yaml:3:5: ")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("${{ nobody }}", r"unknown name 'nobody' \(known: calls, half, list, nothing, "),
        ("${{ thing.nope }}", r"there is no 'nope' \(known: copy, get, items, keys\)"),
        ("${{ text.__class__ }}", "text has no '__class__'"),
        ("${{ list.append }}", "list has no 'append'"),
        ("${{ list[7] }}", "there is no item 7"),
        ("${{ number + text }}", "`\\+` does not work on number and text"),
        ("${{ number < text }}", "`<` does not work on number and text"),
        ("a ${{ nothing }}", "null cannot stand in a text"),
        ("${{ ['a', 'b'] | max_or('x') }}", "compares numbers, or risks"),
        ("${{ nothing | length }}", "expected text, list or object, found null"),
    ],
)
def test_what_cannot_be_evaluated_fails_and_says_where(text, complaint):
    with pytest.raises(ExpressionError, match=complaint) as caught:
        value(text)
    assert str(caught.value).startswith("a.yaml:3:5: ")


def test_the_references_of_an_expression_are_found_wherever_they_stand():
    template = Compiler().compile(
        "${{ a.b[0].c if d in [e.f] else user(g['h']) }} ${{ i | default(j[k.l]) }}"
    )
    assert template is not None
    assert set(template.references) == {
        Reference("a", ("b", 0, "c")), Reference("d", ()), Reference("e", ("f",)), Reference("g", ("h",)),
        Reference("i", ()), Reference("j", ()), Reference("k", ("l",)),
    }  # fmt: skip


def test_results_cannot_grow_without_bound():
    big: dict[str, Any] = {"x": "a" * (MAX_TEXT - 1), "shared": [[]]}
    for _ in range(40):
        big["shared"] = [big["shared"], big["shared"]]
    for text in ("${{ x ~ x }}", "${{ x + x }}", "${{ [x, x] | join }}", "${{ shared | json }}"):
        template = Compiler().compile(text)
        assert template is not None
        with pytest.raises(ExpressionError):
            template.evaluate(big)


WORDS = st.sampled_from(
    [*NAMES, "a", "'s'", "1", "0.5", "true", "none", "\n", *"[](){},:.|+-*/%~<", "**", "//", "==",
     "in", "not", "and", "or", "if", "else", "is", "length", "join", "json", "default",
     "map_attr('name')", "user", "__class__", "__globals__", "range", "lipsum", "self", "cycler"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=14).map(" ".join)))
def test_whatever_is_written_either_has_a_plain_value_or_an_expression_error(inside):
    compiler = Compiler()
    try:
        template = compiler.compile("${{" + inside + "}}")
        result = template.evaluate(NAMES) if template else None
    except ExpressionError:
        return
    json.dumps(result)


class Trap(dict[str, object]):
    """Any way to a Python attribute, call or operator of a value goes off."""

    def __getattribute__(self, name):
        if name in ("keys", "items", "get", "pop", "__class__"):
            if name == "__class__":
                return dict
            raise AssertionError(f"the expression reached the attribute {name}")
        return super().__getattribute__(name)

    def __call__(self, *_):
        raise AssertionError("the expression called a value")


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=10).map(" ".join))
def test_no_expression_ever_reaches_into_a_python_object(inside):
    names = {**NAMES, "a": Trap(x=1), "thing": Trap(items=[1])}
    try:
        template = Compiler().compile("${{ a." + inside + " }}")
        if template:
            template.evaluate(names)
    except ExpressionError:
        return
