import pytest

from pipecatapp.workflow.engine import advance
from pipecatapp.workflow.errors import ErrorCode
from pipecatapp.workflow.journal import (
    IllegalTransitionError,
    NodeRow,
    NodeStatus,
    Rows,
    RunStatus,
    State,
    transition,
)
from pipecatapp.workflow.signals import AttemptSucceeded, FinishRun, TimerKind
from tests.unit.pipecatapp.workflow.engine_play import Play, dumped, restored


def test_a_run_begins_with_the_nodes_that_wait_for_nothing_and_ends_with_its_outputs():
    play = Play(
        "a: {type: work}\nb: {type: work, value: '${{ a.value + 1 }}'}\nc: {type: work}",
        head="outputs: {sum: '${{ b.value + c.value }}'}",
    )
    assert play.begin() == ["start a", "start c"]
    assert play.done("a", 1) == ["a succeeded", "start b"]
    assert play.values("b") == {"value": 2}
    assert play.done("b", 2) == ["b succeeded"]
    assert play.done("c", 3) == ["c succeeded", "run succeeded"]
    assert play.effects[-1] == FinishRun(RunStatus.SUCCEEDED, {"sum": 5})


def test_the_state_that_an_event_met_stays_as_it_was():
    play = Play("a: {type: work}\nb: {type: work, needs: [a]}")
    play.begin()
    before, text = play.state, dumped(play.state)
    event = AttemptSucceeded(0.5, "a", {"value": 1})
    after, effects = advance(play.graph, before, event)
    assert dumped(before) == text
    again, same_effects = advance(play.graph, before, event)
    assert (dumped(again), same_effects) == (dumped(after), effects)
    assert dumped(after) != text


def test_a_state_restored_from_json_goes_on_as_the_one_it_was_written_from():
    play = Play("""
        each:
          type: foreach
          items: [1, 2]
          max_parallel: 1
          outputs: {sums: "${{ second.value }}"}
          do: {first: {type: work, value: "${{ item }}"}, second: {type: work, value: "${{ first.value }}"}}
        """)
    play.begin()
    play.done("each[0].first", 5)
    play.state = restored(dumped(play.state))
    assert play.done("each[0].second", 6) == ["each[0].second succeeded", "start each[1].first"]
    assert play.values("each[1].first") == {"value": 2}


RETRIED = "a: {type: work, retry: {max_attempts: 3, backoff: 4s}}"


@pytest.mark.req("WFE-14")
def test_between_two_attempts_a_node_waits_for_a_timer_that_chance_sets():
    play = Play(RETRIED)
    play.begin()
    assert play.failed("a", chance=0.25) == ["a failed", "retry of a in 1 s"]
    assert play.state.nodes["a"].status is NodeStatus.WAITING
    assert play.rings("a", TimerKind.RETRY) == ["start a again (2)"]
    assert play.failed("a", chance=0.5) == ["a failed", "retry of a in 4 s"]
    assert play.rings("a", TimerKind.RETRY, attempt=2) == ["start a again (3)"]
    assert play.failed("a") == ["a failed", "run failed"]


def test_a_timer_of_an_earlier_attempt_or_of_none_changes_nothing():
    play = Play(RETRIED)
    play.begin()
    assert play.rings("a", TimerKind.RETRY) == []
    play.failed("a")
    play.rings("a", TimerKind.RETRY)
    play.failed("a")
    assert play.rings("a", TimerKind.RETRY, attempt=1) == []
    assert play.state.nodes["a"].status is NodeStatus.WAITING


def test_a_node_that_is_stopped_before_its_next_attempt_ends_as_its_last_attempt_did():
    play = Play(RETRIED + "\nb: {type: work}")
    play.begin()
    play.failed("a")
    assert play.failed("b") == ["b failed", "no retry of a", "run failed"]
    assert play.state.nodes["a"].status is NodeStatus.FAILED
    assert play.rings("a", TimerKind.RETRY) == []


def test_the_first_failure_stops_the_others_and_the_run_ends_when_they_have_ended():
    play = Play("a: {type: work}\nb: {type: work}\nc: {type: work}\nd: {type: work, needs: [c]}")
    play.begin()
    assert play.failed("a") == ["a failed", "stop b", "stop c"]
    assert play.stopped("b") == ["b cancelled"]
    assert play.done("c", 1) == ["c succeeded", "run failed"], (
        "what was done before it could be stopped is done"
    )
    assert play.effects[-1].failure.node == "a"
    assert play.state.nodes["d"].status is NodeStatus.PENDING


def test_after_a_failure_nothing_starts_that_was_not_about_to():
    play = Play("""
        bad: {type: work, when: "${{ [][0] }}"}
        beside: {type: work}
        skipped: {type: work, when: "${{ 1 > 2 }}"}
        later: {type: work, join: done, needs: [skipped]}
        """)
    assert play.begin() == ["bad failed", "start beside", "skipped skipped", "stop beside"]
    assert play.stopped("beside") == ["beside cancelled", "run failed"]


LIVED_WITH = """
    each:
      type: foreach
      items: [1, 2]
      max_parallel: 2
      on_error: continue
      do: {{x: {{type: work}}, y: {{type: work}}}}
    other: {{type: work}}
    {more}
    """


def test_a_failure_in_a_block_stops_its_rounds_and_no_node_outside_when_others_can_live_with_it():
    play = Play(LIVED_WITH.format(more="next: {type: work, value: '${{ each.error.node }}'}"))
    play.begin()
    assert play.failed("each[0].x") == ["each[0].x failed", "stop each[0].y"]
    assert play.stopped("each[0].y") == ["each[0].y cancelled", "stop each[1].x", "stop each[1].y"]
    play.stopped("each[1].x")
    assert play.stopped("each[1].y") == ["each[1].y cancelled", "each failed", "start next"]
    assert play.values("next") == {"value": "each[0].x"}
    assert play.state.nodes["other"].status is NodeStatus.RUNNING


@pytest.mark.req("WFE-09")
def test_a_block_that_runs_past_its_limit_ends_when_its_nodes_have_ended_and_is_tried_again_as_a_whole():
    play = Play("""
        twice:
          type: loop
          max_iterations: 2
          until: ${{ index == 1 }}
          timeout: 3s
          retry: {max_attempts: 2, backoff: 1s}
          do: {x: {type: work, value: "${{ index }}"}}
        """)
    assert play.begin() == ["start twice", "timeout of twice in 3 s", "start twice[0].x"]
    play.done("twice[0].x")
    assert play.rings("twice", TimerKind.TIMEOUT) == ["stop twice[1].x"]
    assert play.stopped("twice[1].x") == [
        "twice[1].x cancelled", "no timeout of twice", "twice timed_out", "retry of twice in 0.5 s",
    ]  # fmt: skip
    assert play.rings("twice", TimerKind.RETRY) == [
        "start twice again (2)", "timeout of twice in 3 s", "start twice[0].x",
    ]  # fmt: skip
    assert play.state.nodes["twice[0].x"].attempt == 1


def test_a_foreach_has_as_many_rounds_open_as_it_may_and_its_items_are_data_of_its_row():
    play = Play("""
        each: {type: foreach, items: [a, b, c], max_parallel: 2, do: {x: {type: work, value: "${{ item }}"}}}
        """)
    assert play.begin() == ["start each", "start each[0].x", "start each[1].x"]
    assert play.done("each[1].x", "B") == ["each[1].x succeeded", "start each[2].x"]
    assert play.values("each[2].x") == {"value": "c"}
    block = play.state.nodes["each"].block
    assert block is not None
    assert (block.rounds.kept, block.begun, block.open) == ({"items": ["a", "b", "c"]}, 3, 2)
    play.done("each[2].x", "C")
    play.done("each[0].x", "A")
    assert play.state.nodes["each"].outputs == {"results": ["A", "B", "C"]}


def test_what_a_loop_carries_is_data_of_its_row():
    play = Play("""
        count:
          type: loop
          max_iterations: 5
          until: ${{ x.value > 8 }}
          carry: {n: {start: 7, next: "${{ x.value }}"}}
          outputs: {n: "${{ x.value }}"}
          do: {x: {type: work, value: "${{ n }}"}}
        """)
    play.begin()
    play.done("count[0].x", 8)
    block = play.state.nodes["count"].block
    assert block is not None
    assert block.rounds.kept["carry"] == {"n": 8}
    assert play.state.rounds["count[1]"].variables == {"index": 1, "n": 8}
    assert play.done("count[1].x", 9) == ["count[1].x succeeded", "count succeeded", "run succeeded"]
    assert play.state.nodes["count"].outputs == {"n": 9}


def test_a_cancelled_run_stops_its_nodes_inside_out():
    play = Play("""
        outer:
          type: loop
          max_iterations: 1
          until: true
          do: {inner: {type: foreach, items: [1], max_parallel: 1, do: {x: {type: work}}}}
        """)
    play.begin()
    assert play.cancelled() == ["stop outer[0].inner[0].x"]
    assert play.stopped("outer[0].inner[0].x") == [
        "outer[0].inner[0].x cancelled", "outer[0].inner cancelled", "outer cancelled", "run cancelled",
    ]  # fmt: skip
    assert play.cancelled() == []


def test_a_run_that_reaches_its_limit_stops_its_nodes_and_says_so():
    play = Play("a: {type: work}")
    assert play.begin(limit=20) == ["timeout of the run in 20 s", "start a"]
    assert play.rings("", TimerKind.TIMEOUT, attempt=0) == ["stop a"]
    assert play.stopped("a") == ["a cancelled", "no timeout of the run", "run timed_out"]
    failure = play.effects[-1].failure
    assert (failure.code, failure.message) == ("timeout", "the run was not done within 20 s")


def test_a_limit_of_a_node_fails_the_run_and_does_not_count_as_the_limit_of_the_run():
    play = Play("a: {type: loop, max_iterations: 1, until: true, timeout: 1s, do: {x: {type: work}}}")
    play.begin(limit=20)
    play.rings("a", TimerKind.TIMEOUT)
    assert play.stopped("a[0].x")[-3:] == ["a timed_out", "no timeout of the run", "run failed"]


def test_a_node_that_stops_though_nobody_asked_it_to_has_failed():
    play = Play("a: {type: work}\nb: {type: work, needs: [a]}")
    play.begin()
    assert play.stopped("a") == ["a failed", "run failed"]
    assert play.effects[-1].failure.code == ErrorCode.INTERNAL


def test_an_event_that_cannot_happen_is_refused():
    play = Play("a: {type: work}\nb: {type: work, needs: [a]}")
    play.begin()
    with pytest.raises(IllegalTransitionError, match="node 'b' cannot go from pending to succeeded"):
        play.done("b")
    play.done("a")
    with pytest.raises(IllegalTransitionError, match="node 'a' cannot go from succeeded to succeeded"):
        play.done("a")
    with pytest.raises(IllegalTransitionError, match="the run cannot go from running to running"):
        play.begin()


def test_an_illegal_change_of_status_names_the_legal_ones():
    assert transition("it", NodeStatus.RUNNING, NodeStatus.WAITING) is NodeStatus.WAITING
    with pytest.raises(IllegalTransitionError, match=r"from waiting to succeeded \(only to: failed, run"):
        transition("it", NodeStatus.WAITING, NodeStatus.SUCCEEDED)
    with pytest.raises(IllegalTransitionError, match="nowhere, it has ended"):
        transition("it", RunStatus.SUCCEEDED, RunStatus.RUNNING)


def test_an_event_changes_as_few_rows_in_a_long_run_as_in_a_short_one():
    chain = "n0: {type: work}\n" + "".join(
        f"n{n}: {{type: work, needs: [n{n - 1}]}}\n" for n in range(1, 400)
    )
    play = Play(chain)
    play.begin()
    for number in range(300):
        before = dict(play.state.nodes)
        play.done(f"n{number}")
        changed = {path for path, row in play.state.nodes.items() if row is not before[path]}
        assert changed == {f"n{number}", f"n{number + 1}"}


def test_rows_are_values_whichever_of_them_is_read_first():
    first = Rows({"a": NodeRow(attempt=1)})
    second = first.updated({"a": NodeRow(attempt=2), "b": NodeRow()})
    third = second.updated({"b": NodeRow(attempt=3)})
    aside = first.updated({"c": NodeRow()})
    assert {path: row.attempt for path, row in third.items()} == {"a": 2, "b": 3}
    assert {path: row.attempt for path, row in second.items()} == {"a": 2, "b": 0}
    assert {path: row.attempt for path, row in first.items()} == {"a": 1}
    assert {path: row.attempt for path, row in aside.items()} == {"a": 1, "c": 0}


def test_a_new_state_has_not_begun():
    assert (State().run.status, len(State().nodes)) == (RunStatus.PENDING, 0)
