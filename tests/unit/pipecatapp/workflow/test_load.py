from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.errors import ConfigFileError
from pipecatapp.nodes.registry import NodeRegistry
from pipecatapp.workflow.load import load_workflow

SPECS = NodeRegistry().specs
HEAD = "schema: 1\nname: demo\ninputs: {text: {type: text}, count: {type: number, default: 2}}\n"
A = HEAD + "nodes:\n  a: "
TOP = "schema: 1\nname: demo\n"
OK = "nodes:\n  say: {type: output, text: hello}\n"


def load(text):
    return load_workflow(dedent(text), "demo.yaml", SPECS)


MALFORMED = [
    ("", 1, 1, "the file is empty"),
    ("schema: 1\nname: [", 3, 1, "malformed YAML"),
    ("- a\n", 1, 1, "valid dictionary"),
    ("name: demo\n" + OK, 1, 1, "missing key 'schema'"),
    ("schema: 2\nname: demo\n" + OK, 1, 1, "Input should be 1"),
    ("schema: 1\nname: Demo!\n" + OK, 2, 1, "match pattern"),
    (TOP + "node: {}\n" + OK, 3, 1, "unknown key 'node' (did you mean 'nodes'?"),
    (TOP + "nodes: {}\n", 3, 1, "at least 1"),
    (TOP + "nodes:\n  say: {type: output, text: a}\n  say: {}\n", 5, 3, "duplicate key 'say'"),
    (HEAD + "budget: {tokens: 5}\n" + OK, 4, 10, "`budget.tokens` is not supported yet by this version"),
    (HEAD + "durability: step\n" + OK, 4, 1, "`durability: step` is not supported yet by this version"),
    (HEAD + "durability: sometimes\n" + OK, 4, 1, "'step', 'end' or 'none'"),
    (HEAD + "concurrency: {limit: 1}\n" + OK, 4, 1, "`concurrency` is not supported yet"),
    (HEAD + "on_failure: {}\n" + OK, 4, 1, "`on_failure` is not supported yet"),
    (HEAD + "ui: {sey: [1, 2]}\n" + OK, 4, 6, "unknown node 'sey' (did you mean 'say'?"),
    (TOP + "inputs: {a: {type: txt}}\n" + OK, 3, 14, "unknown type 'txt'"),
    (TOP + "inputs: {a: {type: text, default: 1}}\n" + OK, 3, 26, "expected text, found number"),
    (HEAD + "outputs: {a: '${{ say.txt }}'}\n" + OK, 4, 11, "named 'txt' (did you mean 'text'?"),
    (HEAD + "outputs: {a: '${{ sya.text }}'}\n" + OK, 4, 11, "unknown name 'sya' (did you mean 'say'?"),
    (A + "5\n", 5, 3, "valid dictionary"),
    (A + "{text: x}\n", 5, 3, "missing key 'type'"),
    (A + "{type: outptu, text: x}\n", 5, 7, "unknown node type 'outptu' (did you mean 'output'?"),
    (A + "{type: output, txet: x}\n", 5, 21, "unknown key 'txet' (did you mean 'text'?"),
    (A + "{type: output}\n", 5, 3, "missing key 'text'"),
    (A + "{type: output, text: [1]}\n", 5, 21, "valid string"),
    (HEAD + "nodes:\n  inputs: {type: output, text: x}\n", 5, 3, "'inputs' has a meaning of its own"),
    (A + "{type: output, text: x, timeout: 5}\n", 5, 30, "expected a duration such as 500ms"),
    (A + "{type: output, text: x, timeout: 0s}\n", 5, 30, "longer than nothing"),
    (A + "{type: output, text: x, on_crash: ask}\n", 5, 30, "`on_crash: ask` is not supported yet"),
    (A + "{type: output, text: x, retry: {}}\n", 5, 30, "missing key 'max_attempts'"),
    (
        A + "{type: output, text: x, retry: {max_attempts: 2, on: [netwrk]}}\n",
        5, 60, "'network', 'rate_limit'",
    ),
    (A + "{type: output, text: x, needs: [b]}\n", 5, 38, "unknown node 'b'"),
    (A + "{type: output, text: x, on_error: b}\n", 5, 30, "unknown node 'b'"),
    (A + "{type: output, text: x, join: some}\n", 5, 30, "'all', 'any' or 'done'"),
    (A + "{type: output, text: '${{ inputs.txt }}'}\n", 5, 21, "no input named 'txt' (did you mean"),
    (A + "{type: output, text: '${{ inptus.text }}'}\n", 5, 21, "unknown name 'inptus' (did you"),
    (A + "{type: output, text: '${{ 1 * 2 }}'}\n", 5, 21, "`*` is not allowed"),
    (A + "{type: output, text: '${{ 1 + }}'}\n", 5, 21, "'${{ 1 + }}'"),
    (A + "{type: output, text: '${{ a.text }}'}\n", 5, 3, "wait for each other: a → a"),
    (
        A + "{type: output, text: x, needs: [c]}\n  b: {type: output, text: '${{ a.text }}'}\n"
        "  c: {type: output, text: x, when: '${{ b.text == 1 }}'}\n",
        5, 3, "wait for each other: a → b → c → a",
    ),
    (
        A + "{type: output, text: x, when: '${{ inputs.text }}'}\n",
        5, 30, "'when' takes bool, but this is text",
    ),
    (
        A + "{type: llm, model: main, messages: '${{ inputs.text }}'}\n",
        5, 31, "'messages' takes list[message], but this is text",
    ),
    (
        A + "{type: llm, model: main, messages: ['${{ user(inputs.text) }}'], temperature: 9}\n",
        5, 71, "less than or equal to 2",
    ),
    (A + "{type: switch, on: 1, cases: {x: [b]}}\n", 5, 40, "unknown node 'b'"),
    (A + "{type: switch, on: 1, cases: '${{ inputs.text }}'}\n", 5, 28, "must be written out"),
    (A + "{type: intent, text: x, sentences: [en]}\n", 5, 30, "valid string"),
    (A + "{type: loop, max_iterations: 2, until: true}\n", 5, 3, "a loop needs nodes under 'do'"),
    (
        A + "{type: loop, until: true, do: {b: {type: output, text: x}}}\n",
        5, 3, "missing key 'max_iterations'",
    ),
    (
        A + "{type: foreach, items: [], do: {b: {type: output, text: x}}}\n",
        5, 3, "missing key 'max_parallel'",
    ),
    (
        A + "{type: loop, max_iterations: 2, until: '${{ b.nope }}', do: {b: {type: tool, tool: x}}}\n",
        5, 38, "no output of 'b' named 'nope'",
    ),
    (
        A + "{type: loop, max_iterations: 2, until: '${{ b.text }}', do: {b: {type: output, text: x}}}\n",
        5, 38, "'until' takes bool, but this is text",
    ),
    (
        HEAD + "nodes:\n  b: {type: output, text: x}\n"
        "  a: {type: loop, max_iterations: 2, until: true, do: {b: {type: output, text: x}}}\n",
        6, 56, "'b' already has a meaning outside this block",
    ),
    (
        A + "{type: foreach, items: [1], max_parallel: 1, do: {b: {type: output, text: '${{ itm }}'}}}\n",
        5, 74, "unknown name 'itm' (did you mean 'item'?",
    ),
    (
        A + "{type: output, text: x, fallback: {txt: y}}\n",
        5, 41, "unknown output 'txt' (did you mean 'text'?",
    ),
    (A + "{type: output, text: x}\n  b: {type: output, text: '${{ a.error.code }}'}\n", 6, 21, "'error'"),
    (A + "&x {type: output, text: x}\n  b: *x\n", 6, 6, "aliases"),
]  # fmt: skip


@pytest.mark.req("WFE-05")
@pytest.mark.parametrize(("text", "line", "column", "expected"), MALFORMED)
def test_a_malformed_file_is_refused_with_its_line_and_column(text, line, column, expected):
    with pytest.raises(ConfigFileError) as caught:
        load(text)
    assert str(caught.value).startswith("demo.yaml:")
    assert expected in str(caught.value)
    assert (caught.value.line, caught.value.column) == (line, column), str(caught.value)


def test_edges_come_from_references_and_needs_and_nothing_else():
    graph = load(
        HEAD
        + """
nodes:
  a: {type: tool, tool: clock}
  b: {type: tool, tool: clock, needs: [a]}
  c: {type: output, text: "${{ a.text }} ${{ inputs.text }}"}
  d: {type: switch, on: "${{ b.text }}", cases: {x: [e]}}
  e: {type: output, text: x}
"""
    )
    edges = {
        id_: {(edge.source, edge.kind.value) for edge in node.edges}
        for id_, node in graph.scope.nodes.items()
    }
    assert edges == {
        "a": set(), "b": {("a", "after")}, "c": {("a", "data")}, "d": {("b", "data")}, "e": {("d", "case")}
    }  # fmt: skip


def test_a_block_waits_for_what_its_body_reads_outside():
    graph = load(
        HEAD
        + """
nodes:
  a: {type: tool, tool: clock}
  each:
    type: foreach
    items: [1, 2]
    max_parallel: 1
    do:
      inner:
        type: foreach
        items: [3]
        max_parallel: 1
        do:
          say: {type: output, text: "${{ a.text }} ${{ item }} ${{ index }}"}
"""
    )
    assert [edge.source for edge in graph.scope.nodes["each"].edges] == ["a"]
    assert graph.scope.nodes["each"].outputs == {"results": "list[list[text]]"}


def test_a_number_flows_into_a_text_but_not_the_other_way():
    load(A + "{type: output, text: '${{ inputs.count }}'}\n")
    with pytest.raises(ConfigFileError, match="'temperature' takes number, but this is text"):
        load(A + "{type: llm, model: m, messages: ['${{ user(1) }}'], temperature: '${{ inputs.text }}'}\n")


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="abt:{}[]$ \n-'\"schemanodesinputype1|>#&*!%", max_size=120))
def test_no_text_makes_the_loader_fail_in_any_other_way(text):
    for candidate in (text, "schema: 1\nname: a\nnodes:\n  a: {type: output, text: x}\n" + text):
        try:
            load_workflow(candidate, "any.yaml", SPECS)
        except ConfigFileError:
            continue
