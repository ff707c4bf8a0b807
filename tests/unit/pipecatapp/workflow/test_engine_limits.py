"""What an engine must not do: go on after a stop, heed what comes too late, hide a name or a failure."""

from pipecatapp.workflow.errors import ErrorCode
from pipecatapp.workflow.journal import NodeStatus
from pipecatapp.workflow.signals import TimerKind
from tests.unit.pipecatapp.workflow.engine_play import Play


def test_expressions_see_the_names_of_all_rounds_around_them_the_nearest_first():
    play = Play(
        """
        a: {type: work}
        each:
          type: foreach
          items: [x, y]
          max_parallel: 1
          do:
            before: {type: work}
            again:
              type: loop
              max_iterations: 3
              until: ${{ index == 1 }}
              carry: {n: {start: "${{ before.value }}", next: "${{ n ~ item }}"}}
              do: {say: {type: work, value: "${{ [inputs.who, a.value, item, before.value, n, index] }}"}}
        """,
        head="inputs: {who: {type: text}}",
    )
    play.begin(who="ada")
    play.done("a", 1)
    play.done("each[0].before", "B")
    assert play.values("each[0].again[0].say") == {"value": ["ada", 1, "x", "B", "B", 0]}
    play.done("each[0].again[0].say")
    assert play.values("each[0].again[1].say") == {"value": ["ada", 1, "x", "B", "Bx", 1]}
    play.done("each[0].again[1].say")
    play.done("each[1].before", "C")
    assert play.values("each[1].again[0].say") == {"value": ["ada", 1, "y", "C", "C", 0]}


def test_a_skipped_node_gives_nothing_and_a_node_that_did_not_fail_no_error():
    play = Play("""
        off: {type: work, when: "${{ 1 > 2 }}"}
        on: {type: work, on_error: continue}
        sees: {type: work, join: done, value: "${{ [off.value, on.error, on.value] }}"}
        """)
    assert play.begin() == ["off skipped", "start on"]
    assert play.done("on", 1) == ["on succeeded", "start sees"]
    assert play.values("sees") == {"value": [None, None, 1]}


def test_where_a_fallback_stands_in_what_follows_runs_and_without_one_it_is_skipped():
    play = Play("""
        mended: {type: work, fallback: {value: spare}}
        lost: {type: work, on_error: continue}
        next: {type: work, value: "${{ mended.value }}"}
        after: {type: work, value: "${{ lost.value }}"}
        """)
    play.begin()
    assert play.failed("mended") == ["mended failed", "start next"]
    assert play.values("next") == {"value": "spare"}
    assert play.failed("lost") == ["lost failed", "after skipped"]
    assert play.done("next") == ["next succeeded", "run succeeded"]


def test_what_fails_while_it_is_being_stopped_is_not_tried_again_and_is_not_why_the_run_failed():
    play = Play("a: {type: work, retry: {max_attempts: 3}}\nb: {type: work}\nc: {type: work}")
    play.begin()
    assert play.failed("b") == ["b failed", "stop a", "stop c"]
    assert play.failed("a") == ["a failed"]
    assert play.stopped("c") == ["c cancelled", "run failed"]
    assert play.effects[-1].failure.node == "b"
    assert play.rings("a", TimerKind.RETRY) == []


def test_only_the_way_that_a_switch_chose_is_gone_and_a_node_whose_when_is_false_leads_nowhere():
    play = Play("""
        choose: {type: switch, on: x, cases: {x: [left], y: [right]}}
        left: {type: work}
        right: {type: work}
        next: {type: work, needs: [left]}
        end: {type: work, join: any, value: "${{ left.value | default(right.value) }}"}
        """)
    play.begin()
    assert play.done("choose", "y", ("right",)) == [
        "choose succeeded", "left skipped", "next skipped", "start right"
    ]  # fmt: skip
    assert play.done("right", 1) == ["right succeeded", "start end"]
    other = Play("""
        choose: {type: switch, on: x, cases: {x: [left], y: []}}
        left: {type: work, when: "${{ choose.case == 'y' }}"}
        next: {type: work, needs: [left]}
        """)
    other.begin()
    assert other.done("choose", "x", ("left",)) == [
        "choose succeeded", "left skipped", "next skipped", "run succeeded"
    ]  # fmt: skip


def test_a_choice_that_comes_while_its_round_is_stopped_decides_nothing():
    play = Play("""
        bad: {type: work}
        choose: {type: switch, on: x, cases: {x: [left]}, default: [right]}
        left: {type: work}
        right: {type: work}
        """)
    play.begin()
    play.failed("bad")
    assert play.done("choose", "x", ("left",)) == ["choose succeeded", "run failed"]
    assert {play.state.nodes[path].status for path in ("left", "right")} == {NodeStatus.PENDING}


def test_a_block_that_is_being_stopped_begins_no_further_round():
    play = Play("each: {type: foreach, items: [1, 2, 3], max_parallel: 2, do: {x: {type: work}}}")
    play.begin()
    assert play.failed("each[0].x") == ["each[0].x failed", "stop each[1].x"]
    assert play.stopped("each[1].x") == ["each[1].x cancelled", "each failed", "run failed"]
    assert "each[2].x" not in play.state.nodes


def test_a_limit_that_is_reached_while_a_block_waits_for_its_next_attempt_changes_nothing():
    play = Play("""
        block:
          type: loop
          max_iterations: 1
          until: true
          timeout: 3s
          retry: {max_attempts: 2, backoff: 1s}
          do: {x: {type: work}}
        """)
    play.begin()
    assert play.failed("block[0].x")[-1] == "retry of block in 0.5 s"
    assert play.rings("block", TimerKind.TIMEOUT) == []
    assert play.state.nodes["block"].status is NodeStatus.WAITING
    assert play.rings("block", TimerKind.RETRY)[0] == "start block again (2)"
    assert play.rings("block", TimerKind.TIMEOUT) == []


def test_a_node_that_timed_out_and_is_stopped_before_its_next_attempt_has_timed_out():
    play = Play("""
        block:
          type: loop
          max_iterations: 1
          until: true
          timeout: 3s
          retry: {max_attempts: 2, backoff: 1s}
          do: {x: {type: work}}
        b: {type: work}
        """)
    play.begin()
    play.rings("block", TimerKind.TIMEOUT)
    assert play.stopped("block[0].x")[-1] == "retry of block in 0.5 s"
    assert play.failed("b") == ["b failed", "no retry of block", "run failed"]
    assert play.state.nodes["block"].status is NodeStatus.TIMED_OUT


def test_a_block_without_a_sign_of_life_says_which_of_its_limits_it_reached():
    play = Play("""
        block:
          type: loop
          max_iterations: 1
          until: true
          timeout: 60s
          idle_timeout: 3s
          do: {x: {type: work}}
        """)
    play.begin()
    assert play.rings("block", TimerKind.IDLE_TIMEOUT) == ["stop block[0].x"]
    assert play.stopped("block[0].x")[-2:] == ["block timed_out", "run failed"]
    failure = play.effects[-1].failure
    assert (failure.code, failure.message) == ("idle_timeout", "no sign of life for 3 s (idle_timeout)")


def test_a_run_that_has_ended_is_neither_cancelled_nor_out_of_time():
    play = Play("a: {type: work}")
    play.begin(limit=20)
    assert play.done("a")[-1] == "run succeeded"
    assert play.cancelled() == []
    assert play.rings("", TimerKind.TIMEOUT, attempt=0) == []
    assert play.state.run.status == "succeeded"


def test_outputs_that_cannot_be_told_fail_the_run():
    play = Play("a: {type: work}", head="outputs: {first: '${{ a.value[0] }}'}")
    play.begin()
    assert play.done("a", []) == ["a succeeded", "run failed"]
    failure = play.effects[-1].failure
    assert (failure.code, failure.node, play.effects[-1].outputs) == (ErrorCode.EXPRESSION, "", {})


def test_outputs_of_a_block_that_its_ports_do_not_take_fail_it():
    play = Play("""
        sums:
          type: loop
          max_iterations: 1
          until: true
          outputs: {n: "${{ 1e308 + 1e308 }}"}
          do: {x: {type: work}}
        """)
    play.begin()
    assert play.done("sums[0].x")[1:] == ["sums failed", "run failed"]
    assert play.effects[-1].failure.code == ErrorCode.INVALID_OUTPUT


def test_a_value_that_cannot_be_told_fails_the_node_with_its_place_and_no_further_attempt():
    play = Play("a: {type: work, value: '${{ [][0] }}', retry: {max_attempts: 3}}")
    assert play.begin() == ["start a", "a failed", "run failed"]
    failure = play.effects[-1].failure
    assert (failure.code, failure.node, failure.attempt) == (ErrorCode.EXPRESSION, "a", 1)
