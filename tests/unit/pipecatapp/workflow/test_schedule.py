import pytest

from pipecatapp.nodes.registry import NodeRegistry
from pipecatapp.workflow.load import load_workflow
from pipecatapp.workflow.schedule import Ended, Outcome, Schedule, Step

SPECS = NodeRegistry().specs


def schedule(nodes):
    text = "schema: 1\nname: demo\nnodes:\n" + "".join(f"  {line}\n" for line in nodes.strip().splitlines())
    return Schedule(load_workflow(text, "demo.yaml", SPECS).scope)


OK, FAILED, SKIPPED = Outcome(Ended.OK), Outcome(Ended.FAILED), Outcome(Ended.SKIPPED)
FORK = """
a: {type: switch, on: 1, cases: {x: [left], y: [right]}}
left: {type: output, text: l}
right: {type: output, text: r}
after: {type: output, text: "${{ left.text }}"}
end: {type: output, text: "${{ left.text | default(right.text) }}", join: %s}
"""


def test_nodes_that_wait_for_nothing_start_at_once_and_side_by_side():
    assert schedule("a: {type: output, text: x}\nb: {type: output, text: x}").begin() == Step(("a", "b"), ())


@pytest.mark.req("WFE-06")
def test_an_untaken_branch_is_skipped_with_all_that_follows_from_it():
    plan = schedule(FORK % "any")
    assert plan.settle("a", Outcome(Ended.OK, frozenset({"right"}))) == Step(("right",), ("left", "after"))
    assert plan.settle("right", OK) == Step(("end",), ())


@pytest.mark.parametrize(
    ("join", "right", "runs"),
    [
        ("all", OK, False),
        ("any", OK, True),
        ("any", FAILED, False),
        ("done", FAILED, True),
        ("done", OK, True),
    ],
)
def test_the_join_rule_decides_about_a_merge(join, right, runs):
    plan = schedule(FORK % join)
    plan.settle("a", Outcome(Ended.OK, frozenset({"right"})))
    step = plan.settle("right", right)
    assert step == (Step(("end",), ()) if runs else Step((), ("end",)))


def test_any_asks_the_branches_that_lead_to_a_node_and_not_what_it_reads():
    plan = schedule("""
data: {type: output, text: d}
gate: {type: switch, on: 1, cases: {go: [act], no: []}}
other: {type: output, text: o, when: "${{ gate.case == 'other' }}"}
act: {type: output, text: "${{ data.text }}", join: any, needs: [other]}
""")
    plan.begin()
    plan.settle("data", OK)
    plan.settle("gate", Outcome(Ended.OK, frozenset()))
    assert plan.settle("other", SKIPPED) == Step((), ("act",))


def test_the_node_named_in_on_error_runs_only_after_a_failure():
    nodes = """
a: {type: output, text: x, on_error: mend}
mend: {type: output, text: "${{ a.error.message }}"}
next: {type: output, text: "${{ a.text }}"}
"""
    assert schedule(nodes).settle("a", OK) == Step(("next",), ("mend",))
    assert schedule(nodes).settle("a", FAILED) == Step(("mend",), ("next",))


def test_a_node_cannot_end_twice():
    plan = schedule("a: {type: output, text: x}")
    plan.settle("a", OK)
    with pytest.raises(ValueError, match="'a' has already ended"):
        plan.settle("a", OK)
