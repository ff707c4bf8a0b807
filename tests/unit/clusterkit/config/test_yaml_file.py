"""Every complaint about a YAML file names its line and column, and no file does harm."""

from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from clusterkit.config.suggest import suggest
from clusterkit.config.yaml_file import MAX_DEPTH, parse_yaml, read_yaml, validate
from clusterkit.errors import ConfigFileError


class Oven(BaseModel):
    """A part of a configuration."""

    model_config = ConfigDict(extra="forbid")

    degrees: int
    mode: Literal["fan", "grill"] = "fan"


class Kitchen(BaseModel):
    """A configuration."""

    model_config = ConfigDict(extra="forbid")

    name: str
    ovens: list[Oven] = []


def refused(text: str) -> ConfigFileError:
    with pytest.raises(ConfigFileError) as caught:
        parse_yaml(text, "kitchen.yaml")
    assert str(caught.value).startswith(f"kitchen.yaml:{caught.value.line}:{caught.value.column}: ")
    return caught.value


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("", 1, 1, "the file is empty"),
        ("# only a remark\n", 1, 1, "the file is empty"),
        ("a: [1, 2\nb: 3\n", 2, 2, "malformed YAML"),
        ("a: 1\n b: 2\n", 2, 3, "malformed YAML"),
        ("a:\n\t- 1\n", 2, 1, "malformed YAML"),
        ('a: "open\n', 2, 1, "malformed YAML"),
        ("a: 1\n---\nb: 2\n", 2, 1, "malformed YAML"),
        ("a: {b: 1}}\n", 1, 10, "malformed YAML"),
        ("a: @x\n", 1, 4, "malformed YAML"),
        ("a: %x\n", 1, 4, "malformed YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, 1, "duplicate key 'a'"),
        ("x:\n  a: 1\n  a: 1\n", 3, 3, "duplicate key 'a'"),
        ("on: 1\non: 2\n", 2, 1, "duplicate key 'on'"),
        ("a: &x [1]\nb: *x\n", 2, 4, "aliases"),
        ("a: &x text\nb: *x\n", 2, 4, "aliases"),
        ("a: &x\n  b: *x\n", 2, 6, "aliases"),
        ("a: *x\n", 1, 4, "aliases"),
        ("<<: {a: 1}\n", 1, 1, "unsupported tag"),
        ("1: a\n", 1, 1, "a key must be text"),
        ("a: 1\nnull: b\n", 2, 1, "a key must be text"),
        ("[a]: b\n", 1, 1, "a key must be text"),
        ("a: !!python/object/apply:os.system [id]\n", 1, 4, "unsupported tag"),
        ("a: !!python/name:os.system\n", 1, 4, "unsupported tag"),
        ("a: !secret x\n", 1, 4, "unsupported tag"),
        ("a:\n  - !vault |\n    x\n", 2, 5, "unsupported tag"),
        ("a: !!map {b: !own [1]}\n", 1, 14, "unsupported tag"),
        ("a: !!int\n", 1, 4, "not a valid"),
        ("a: !!int x\n", 1, 4, "not a valid"),
        ("a: !!float\n", 1, 4, "not a valid"),
        ("a: !!bool perhaps\n", 1, 4, "not a valid"),
        ("a: !!timestamp soon\n", 1, 4, "not a valid"),
        ("a: 2026-99-99\n", 1, 4, "not a valid"),
        ("a: \x00\n", 1, 1, "malformed YAML"),
        ("a: \x07\n", 1, 1, "malformed YAML"),
        ("a: \ud800\n", 1, 1, "malformed YAML"),
        ("a: !!set {b, c}\n", 1, 4, "unsupported tag"),
        ("[" * 100_000, 1, 65, "nested deeper than 64 levels"),
        ("- " * 100_000, 1, 129, "nested deeper than 64 levels"),
        ("{a: " * 100_000, 1, 257, "nested deeper than 64 levels"),
        ("? " * 100_000, 1, 129, "nested deeper than 64 levels"),
    ],
)  # fmt: skip
def test_a_malformed_document_is_refused_at_the_place(text: str, line: int, column: int, said: str) -> None:
    error = refused(text)
    assert said in str(error)
    assert (error.line, error.column) == (line, column)


def test_nesting_is_bounded() -> None:
    def nested(depth: int) -> str:
        return "[" * depth + "1" + "]" * depth

    parse_yaml(nested(MAX_DEPTH), "kitchen.yaml")
    assert f"nested deeper than {MAX_DEPTH} levels" in str(refused(nested(MAX_DEPTH + 1)))


def test_a_document_of_aliases_does_not_unfold() -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert "aliases" in str(refused("\n".join(["l0: &l0 [x]", *levels])))


def test_values_are_plain_and_know_where_they_stand() -> None:
    document = parse_yaml("name: Ada\non: true\novens:\n  - degrees: 180\n    note: ~\n", "kitchen.yaml")
    assert document.data == {"name": "Ada", "on": True, "ovens": [{"degrees": 180, "note": None}]}
    at = document.position(("ovens", 0, "degrees"))
    assert (at.line, at.column) == (4, 5)
    assert document.position(("ovens", 0, "nowhere", 7)) == document.position(("ovens", 0))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "name: x\novnes: []\n",
            "2:1: ovnes - unknown key 'ovnes' (did you mean 'ovens'? known: name, ovens)",
        ),
        ("ovens: []\n", "1:1: name - missing key 'name'"),
        ("name: [x]\n", "1:1: name - Input should be a valid string"),
        (
            "name: x\novens:\n  - degrees: hot\n",
            "3:5: ovens.0.degrees - Input should be a valid integer, "
            "unable to parse string as an integer (found 'hot')",
        ),
        (
            "name: x\novens:\n  - degrees: 1\n    mode: gril\n",
            "4:5: ovens.0.mode - Input should be 'fan' or 'grill' (found 'gril')",
        ),
        ("name: x\novens:\n  - mode: fan\n", "3:5: ovens.0.degrees - missing key 'degrees'"),
        ("- 1\n", "1:1: Input should be a valid dictionary or instance of Kitchen"),
        ("name: x\novens: {}\n", "2:1: ovens - Input should be a valid list"),
    ],
)
def test_what_does_not_fit_the_model_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigFileError) as caught:
        validate(Kitchen, parse_yaml(text, "kitchen.yaml"))
    assert str(caught.value) == f"kitchen.yaml:{said}"


def test_a_good_document_becomes_its_model(tmp_path: Path) -> None:
    file = tmp_path / "kitchen.yaml"
    file.write_text(dedent("""\
        name: Küche
        ovens:
          - {degrees: 180, mode: grill}
        """))  # fmt: skip
    made = validate(Kitchen, read_yaml(file))
    assert made == Kitchen(name="Küche", ovens=[Oven(degrees=180, mode="grill")])


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError, match=r"none\.yaml:1:1: cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigFileError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("a: 1\nb: Käse\n".encode("latin-1"))
    with pytest.raises(ConfigFileError, match=r"latin\.yaml:2:5: not UTF-8 text"):
        read_yaml(tmp_path / "latin.yaml")


def test_suggestions_are_made_among_what_is_known() -> None:
    assert suggest("codng", ["math", "coding"]) == " (did you mean 'coding'? known: coding, math)"
    assert suggest("zzz", ["math"]) == " (known: math)"
    assert suggest("zzz", []) == ""


YAMLISH = st.text(alphabet=st.sampled_from("ab01:-?[]{},&*!|>%@`'\"#~<= \n\t._+x\ud800\x00é"), max_size=60)
TAGS = [
    "int",
    "float",
    "bool",
    "null",
    "timestamp",
    "binary",
    "set",
    "omap",
    "pairs",
    "merge",
    "value",
    "str",
    "seq",
    "map",
]
TAGGED = st.builds("a: !!{} {}".format, st.sampled_from(TAGS), YAMLISH)


@given(st.text() | YAMLISH | TAGGED)
@example("a: !!int 0x_")
@example("!!binary \n")
@example("a: 9" + "9" * 6000)
@example("a: 1:2:3:99")
def test_no_text_raises_anything_but_a_config_file_error(text: str) -> None:
    with suppress(ConfigFileError):
        validate(Kitchen, parse_yaml(text, "kitchen.yaml"))
