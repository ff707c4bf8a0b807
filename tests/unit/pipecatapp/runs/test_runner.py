import asyncio

import pytest

from clusterkit.testing import FakeClock
from pipecatapp.runs.events import NodeFinished, NodeSkipped, NodeStarted, RunFinished, RunStarted
from pipecatapp.runs.records import InvalidInputError, RunFailedError
from pipecatapp.workflow.journal import RunStatus


def statuses(result):
    return {path: record.status.value for path, record in result.nodes.items()}


@pytest.mark.req("WFE-05")
async def test_inputs_come_as_literals_references_nested_values_and_transforms(kit):
    result = await kit.run(
        """
        a: {type: work, value: {deep: [1, {x: found}]}}
        b:
          type: work
          value:
            literal: 5
            global: ${{ inputs.who }}
            nested: "${{ a.value.deep[1].x }}"
            text: "Hello ${{ inputs.who | upper }}!"
        """,
        head="inputs: {who: {type: text}}\noutputs: {made: '${{ b.value }}'}",
        inputs={"who": "ada"},
    )
    assert result.outputs["made"] == {"literal": 5, "global": "ada", "nested": "found", "text": "Hello ADA!"}


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        ({}, r"needs the input 'n' \(number\)"),
        ({"n": "x"}, "input 'n': expected number, found text"),
        ({"n": 1, "m": 2}, "has no input 'm'"),
    ],
)
async def test_wrong_inputs_are_refused_before_anything_runs(kit, inputs, complaint):
    with pytest.raises(InvalidInputError, match=complaint):
        await kit.run("a: {type: work}", head="inputs: {n: {type: number}}", inputs=inputs)
    assert kit.work.started == []


async def test_independent_nodes_run_side_by_side(kit):
    nodes = "\n".join(f"n{index}: {{type: work, meet: 3}}" for index in range(3))
    async with asyncio.timeout(5):
        assert set(statuses(await kit.run(nodes)).values()) == {"succeeded"}


@pytest.mark.req("WFE-06")
async def test_the_untaken_side_of_a_switch_is_skipped_and_the_merge_gets_the_taken_one(kit):
    result = await kit.run(
        """
        choose: {type: switch, on: "${{ inputs.way }}", cases: {l: [left], r: [right]}}
        left: {type: work, value: from the left}
        right: {type: work, value: from the right}
        follows: {type: work, value: "${{ right.value }}"}
        merge: {type: output, join: any, text: "${{ left.value | default(right.value) }}"}
        """,
        head="inputs: {way: {type: text}}\noutputs: {text: '${{ merge.text }}'}",
        inputs={"way": "l"},
    )
    assert statuses(result) == {
        "choose": "succeeded", "left": "succeeded", "right": "skipped", "follows": "skipped",
        "merge": "succeeded",
    }  # fmt: skip
    assert result.outputs == {"text": "from the left"}
    assert kit.work.started == ["left"]
    assert NodeSkipped("follows", "work") in kit.heard


async def test_a_value_without_a_case_fails_naming_the_cases(kit):
    with pytest.raises(RunFailedError, match=r"no case for 'x' and no default \(cases: a, b\)") as caught:
        await kit.run("s: {type: switch, on: x, cases: {a: [], b: []}}")
    assert caught.value.code == "no_case"


async def test_a_node_whose_when_is_false_is_skipped(kit):
    result = await kit.run("a: {type: work, when: '${{ 1 > 2 }}'}\nb: {type: work, needs: [a]}")
    assert statuses(result) == {"a": "skipped", "b": "skipped"}


COUNT = """
count:
  type: loop
  max_iterations: {bound}
  until: ${{{{ step.value >= 3 }}}}
  carry: {{n: {{start: 0, next: "${{{{ step.value }}}}"}}}}
  outputs: {{n: "${{{{ step.value }}}}", rounds: "${{{{ index + 1 }}}}"}}
  do:
    step: {{type: work, value: "${{{{ n + 1 }}}}"}}
"""


@pytest.mark.req("WFE-07")
async def test_a_loop_carries_values_from_round_to_round_until_it_is_done(kit):
    result = await kit.run(
        COUNT.format(bound=9), head="outputs: {n: '${{ count.n }}', r: '${{ count.rounds }}'}"
    )
    assert result.outputs == {"n": 3, "r": 3}
    assert kit.work.started == ["count[0].step", "count[1].step", "count[2].step"]


@pytest.mark.req("WFE-07")
async def test_a_loop_that_reaches_its_bound_fails_and_says_so(kit):
    with pytest.raises(RunFailedError, match=r"loop 'count' was not done after 2 rounds") as caught:
        await kit.run(COUNT.format(bound=2))
    assert caught.value.code == "loop_exhausted"
    assert len(kit.work.started) == 2


async def test_foreach_keeps_the_order_of_its_items_and_its_bound(kit):
    nodes = """
        each:
          type: foreach
          items: [1, 2, 3, 4]
          max_parallel: 2
          do: {work: {type: work, meet: 2, value: "${{ item + index }}"}}
        """
    async with asyncio.timeout(5):
        result = await kit.run(nodes, head="outputs: {all: '${{ each.results }}'}")
    assert result.outputs == {"all": [1, 3, 5, 7]}
    assert "each[3].work" in result.nodes


async def test_the_first_failure_stops_the_nodes_beside_it(kit):
    with pytest.raises(RunFailedError, match="node 'bad': failing as told") as caught:
        await kit.run("slow: {type: work, hang: true}\nbad: {type: work, fail: tool_failed}")
    assert statuses(caught.value.result) == {"slow": "cancelled", "bad": "failed"}
    assert kit.work.stopped == ["slow"]
    assert (caught.value.code, caught.value.node) == ("tool_failed", "bad")


async def test_a_failure_deep_in_blocks_names_the_exact_node(kit):
    nodes = """
        outer:
          type: foreach
          items: [a, b]
          max_parallel: 1
          do:
            inner: {type: loop, max_iterations: 1, until: true, do: {bad: {type: work, fail: network}}}
        """
    with pytest.raises(RunFailedError) as caught:
        await kit.run(nodes)
    assert caught.value.node == "outer[0].inner[0].bad"


@pytest.mark.parametrize("keys", ["on_error: continue", "on_error: mend", "fallback: {value: spare}"])
async def test_a_failure_can_be_lived_with(kit, keys):
    result = await kit.run(
        f"""
        bad: {{type: work, fail: network, {keys}}}
        next: {{type: work, value: "${{{{ bad.value }}}}"}}
        mend: {{type: work, join: done, value: "${{{{ bad.error.code }}}}"}}
        """,
        head="outputs: {next: '${{ next.value }}', code: '${{ mend.value }}'}",
    )
    recovered = "fallback" in keys
    assert result.outputs == {"next": "spare" if recovered else None, "code": "network"}
    assert result.nodes["next"].status == ("succeeded" if recovered else "skipped")
    assert result.nodes["bad"].status == "failed"


@pytest.mark.req("WFE-14")
async def test_a_passing_failure_is_retried_and_every_attempt_is_recorded(make_kit):
    clock = FakeClock()
    kit = make_kit(clock)
    retry = "retry: {max_attempts: 4, backoff: 2s}"
    running = asyncio.create_task(
        kit.run(f"a: {{type: work, fail: network, times: 2, value: done, {retry}}}")
    )
    while not running.done():
        await clock.advance(0.5)
    record = running.result().nodes["a"]
    assert [attempt.status for attempt in record.attempts] == ["failed", "failed", "succeeded"]
    assert record.attempts[0].error["code"] == "network"
    assert clock.monotonic() >= 3.0  # half of 2 s, then half of 4 s
    steps = [event for event in await kit.events() if event.action_type == "plan_step_execution"]
    assert [event.status for event in steps] == ["failure", "failure", "success"]


async def test_a_failure_that_would_come_again_is_not_retried(kit):
    with pytest.raises(RunFailedError):
        await kit.run("a: {type: work, fail: tool_failed, retry: {max_attempts: 4, backoff: 1ms}}")
    assert len(kit.work.started) == 1


@pytest.mark.req("WFE-09")
async def test_a_node_that_runs_past_its_limit_is_stopped(kit):
    with pytest.raises(RunFailedError, match=r"not done within 0\.02 s") as caught:
        await kit.run("a: {type: work, hang: true, timeout: 20ms}")
    assert statuses(caught.value.result) == {"a": "timed_out"}
    assert caught.value.code == "timeout"
    assert kit.work.stopped == ["a"]
    assert [event.status for event in await kit.events()] == ["timeout"]


@pytest.mark.req("WFE-09")
async def test_a_node_that_ran_past_its_limit_takes_its_error_route(kit):
    result = await kit.run(
        """
        a: {type: work, hang: true, timeout: 20ms, on_error: mend}
        mend: {type: work, value: "${{ a.error.code }}"}
        """,
        head="outputs: {code: '${{ mend.value }}'}",
    )
    assert result.outputs == {"code": "timeout"}
    assert statuses(result) == {"a": "timed_out", "mend": "succeeded"}


async def test_a_model_that_falls_silent_is_given_up(kit, script):
    kit.models.replies, kit.models.hang_after = [script("a|b|c")], 2
    ask = "ask: {type: llm, model: m, messages: ['${{ user(1) }}'], idle_timeout: 50ms}"
    with pytest.raises(RunFailedError, match=r"no sign of life for 0\.05 s") as caught:
        await kit.run(ask)
    assert caught.value.code == "idle_timeout"


@pytest.mark.parametrize("limit", ["file", "caller"])
async def test_a_run_that_takes_too_long_is_stopped_with_all_its_nodes(kit, limit):
    head, more = ("budget: {wall: 20ms}", {}) if limit == "file" else ("", {"timeout": 0.02})
    nodes = "a: {type: loop, max_iterations: 1, until: true, do: {b: {type: work, hang: true}}}"
    with pytest.raises(RunFailedError, match=r"the run was not done within 0\.02 s") as caught:
        await kit.run(nodes, head=head, **more)
    assert caught.value.result.status is RunStatus.TIMED_OUT
    assert statuses(caught.value.result) == {"a": "cancelled", "a[0].b": "cancelled"}
    assert kit.work.stopped == ["a[0].b"]


async def test_cancelling_a_run_stops_its_nodes(kit):
    running = asyncio.create_task(kit.run("b: {type: work, meet: 2}\na: {type: work, hang: true}"))
    await kit.work.hanging.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert kit.work.stopped == ["a"]
    assert isinstance(kit.heard[-1], RunFinished)
    assert kit.heard[-1].status is RunStatus.CANCELLED
    assert {event.status for event in await kit.events()} == {"interrupted"}


async def test_a_mistake_in_a_node_fails_the_run_and_names_the_place(kit):
    with pytest.raises(RunFailedError, match=r"demo\.yaml:5:3: KeyError: 'oops'") as caught:
        await kit.run("a: {type: work, crash: true}")
    assert caught.value.code == "internal"


async def test_an_expression_that_fails_names_its_line(kit):
    with pytest.raises(RunFailedError, match=r"demo\.yaml:5:19: .*there is no item 0") as caught:
        await kit.run("a: {type: work, value: '${{ [][0] }}'}")
    assert caught.value.code == "expression"


async def test_a_value_that_does_not_fit_at_run_time_is_refused(kit):
    with pytest.raises(RunFailedError, match="text - Input should be a valid string") as caught:
        await kit.run("a: {type: work, value: [1]}\nb: {type: output, text: '${{ a.value }}'}")
    assert caught.value.code == "invalid_config"


async def test_the_listener_hears_everything_in_order(kit):
    await kit.run("a: {type: work, value: x}\nb: {type: output, text: '${{ a.value }}'}")
    kinds = [type(event).__name__ for event in kit.heard]
    assert kinds == [
        "RunStarted",
        "NodeStarted",
        "NodeFinished",
        "NodeStarted",
        "Chunk",
        "NodeFinished",
        "RunFinished",
    ]
    assert kit.heard[0] == RunStarted("run-1", "demo")
    assert kit.heard[1] == NodeStarted("a", "work", 1)
    assert isinstance(kit.heard[2], NodeFinished)


@pytest.mark.req("MON-03")
async def test_a_run_moves_the_metrics(kit):
    await kit.run("a: {type: tool, tool: clock}\nb: {type: tool, tool: broken, on_error: continue}")
    value = kit.metrics.value
    assert value("hearth_workflow_run_seconds_count", {"workflow": "demo", "status": "succeeded"}) == 1
    assert value("hearth_workflow_node_seconds_count", {"type": "tool", "status": "failed"}) == 1
    assert value("hearth_tool_calls_total", {"tool": "clock", "outcome": "success"}) == 1
    assert value("hearth_tool_calls_total", {"tool": "broken", "outcome": "failure"}) == 1


async def test_many_nodes_in_a_row_are_no_problem(kit):
    chain = ["n0: {type: work, value: 0}"]
    chain += [
        f"n{index}: {{type: work, value: '${{{{ n{index - 1}.value + 1 }}}}'}}" for index in range(1, 300)
    ]
    result = await kit.run("\n".join(chain), head="outputs: {last: '${{ n299.value }}'}")
    assert result.outputs == {"last": 299}
