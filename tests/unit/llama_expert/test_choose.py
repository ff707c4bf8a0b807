"""Which model an expert gets."""

import pytest

from clusterkit.config.catalogue import ExpertSpec, ModelSpec
from llama_expert.choose import Assignment, FileFacts, Reason, choose, choose_in_turn, held, needed_mb


def model(name: str, memory_mb: int) -> ModelSpec:
    return ModelSpec(name=name, url="file:///x", filename=f"{name}.gguf", memory_mb=memory_mb)


LARGE, MIDDLE, FALLBACK = model("large", 10200), model("middle", 5300), model("fallback", 300)
PINNED = model("own", 4500)
MAIN = ExpertSpec("main", (LARGE, MIDDLE, FALLBACK))
CODING = ExpertSpec("coding", (LARGE, FALLBACK))
WHOLE = {spec: FileFacts(f"/m/{spec.filename}", 50) for spec in (LARGE, MIDDLE, FALLBACK, PINNED)}


def chosen(
    free_mb: int,
    *experts: ExpertSpec,
    facts: dict[ModelSpec, FileFacts] | None = None,
    failed: dict[str, str] | None = None,
    running: dict[str, Assignment] | None = None,
    pool_mb: int = 0,
) -> dict[str, Assignment]:
    given = choose(
        experts or (MAIN,),
        {**WHOLE, **(facts or {})},
        free_mb,
        failed=failed or {},
        running=running or {},
        pool_mb=pool_mb,
    )
    return {one.expert: one for one in given}


def name_of(assignment: Assignment) -> str | None:
    return assignment.model.name if assignment.model else None


def test_the_first_model_is_used_when_it_fits() -> None:
    main = chosen(10200)["main"]
    assert (name_of(main), main.refused) == ("large", ())


@pytest.mark.req("MOD-07")
def test_with_four_gigabytes_the_fallback_is_chosen_and_the_others_say_what_they_need() -> None:
    main = chosen(4096)["main"]
    assert name_of(main) == "fallback"
    assert [(refusal.model, refusal.reason) for refusal in main.refused] == [
        ("large", Reason.DOES_NOT_FIT),
        ("middle", Reason.DOES_NOT_FIT),
    ]
    assert main.refused[0].detail == "needs 10200 MB, 4096 MB free"


@pytest.mark.req("MOD-08")
def test_two_machines_with_different_memory_use_different_models() -> None:
    assert name_of(chosen(16_000)["main"]) == "large"
    assert name_of(chosen(8_000)["main"]) == "middle"


@pytest.mark.req("MOD-05")
@pytest.mark.parametrize("reason", list(Reason))
def test_a_model_that_cannot_be_used_is_refused_with_its_reason_and_the_next_is_used(reason: Reason) -> None:
    main = chosen(20_000, facts={LARGE: FileFacts("/m/large.gguf", 50, reason, "because")})["main"]
    assert name_of(main) == "middle"
    assert [(refusal.reason, refusal.detail) for refusal in main.refused] == [(reason, "because")]


@pytest.mark.req("MOD-05")
def test_models_that_did_not_load_are_passed_over_in_order() -> None:
    failed = {"/m/large.gguf": "bad tensor"}
    assert name_of(chosen(20_000, failed=failed)["main"]) == "middle"
    failed["/m/middle.gguf"] = "bad tensor"
    main = chosen(20_000, failed=failed)["main"]
    assert name_of(main) == "fallback"
    assert {refusal.reason for refusal in main.refused} == {Reason.DID_NOT_LOAD}


def test_an_expert_with_nothing_usable_says_why_for_every_model() -> None:
    missing = FileFacts(reason=Reason.MISSING, detail="not there")
    main = chosen(20_000, facts=dict.fromkeys(WHOLE, missing))["main"]
    assert (main.model, main.path) == (None, "")
    assert len(main.refused) == 3


def test_experts_that_come_to_the_same_file_share_one_server() -> None:
    both = chosen(10_300, MAIN, CODING)
    assert (name_of(both["main"]), both["main"].needed_mb) == ("large", 10_200)
    assert (name_of(both["coding"]), both["coding"].needed_mb) == ("large", 0)


def test_no_expert_goes_without_so_that_another_may_have_a_larger_model() -> None:
    extract = ExpertSpec("extract", (FALLBACK,))
    both = chosen(10_400, MAIN, extract)
    assert name_of(both["main"]) == "middle"
    assert name_of(both["extract"]) == "fallback"
    assert both["main"].refused[0].detail == "needs 10200 MB, 10400 MB free (300 MB of it for other experts)"


def test_the_last_resort_of_the_first_expert_is_not_held_back_for_others() -> None:
    other = ExpertSpec("other", (model("other", 200),))
    both = chosen(350, ExpertSpec("main", (FALLBACK,)), other, facts={other.models[0]: FileFacts("/m/o", 50)})
    assert name_of(both["main"]) == "fallback"
    assert both["other"].model is None


def test_a_running_server_is_kept_when_another_experts_model_fails() -> None:
    before = chosen(10_600, MAIN, ExpertSpec("coding", (MIDDLE, FALLBACK)))
    assert (name_of(before["main"]), name_of(before["coding"])) == ("large", "fallback")
    after = chosen(
        10_600,
        MAIN,
        ExpertSpec("coding", (MIDDLE, FALLBACK)),
        failed={"/m/large.gguf": "gone"},
        running=before,
    )
    assert name_of(after["main"]) == "middle"
    assert after["coding"] == before["coding"]


def test_a_model_is_never_believed_to_need_less_than_its_file_and_a_margin() -> None:
    assert needed_mb(FALLBACK, FileFacts("/m/f", 1000)) == 1100
    assert needed_mb(FALLBACK, FileFacts("/m/f", 100)) == 300


@pytest.mark.req("MOD-04")
def test_a_model_too_big_for_the_machine_is_split_over_the_hosts_that_lend_memory() -> None:
    alone = chosen(4096)["main"]
    lent = chosen(4096, pool_mb=6200)["main"]
    assert (name_of(alone), alone.split) == ("fallback", False)
    assert (name_of(lent), lent.split) == ("large", True)
    assert chosen(12_000, pool_mb=6200)["main"].split is False


@pytest.mark.req("MOD-04")
def test_when_the_hosts_that_lend_memory_fail_the_fallback_is_served_by_this_machine_alone() -> None:
    given = chosen(4096, pool_mb=6200, failed={WHOLE[LARGE].path: "the RPC server is gone"})["main"]
    assert (name_of(given), given.split) == ("middle", True)
    both = {WHOLE[LARGE].path: "gone", WHOLE[MIDDLE].path: "gone"}
    given = chosen(4096, pool_mb=6200, failed=both)["main"]
    assert (name_of(given), given.split) == ("fallback", False)


def test_only_one_model_is_split() -> None:
    given = chosen(4096, MAIN, CODING, pool_mb=100_000, running={})
    assert [given[name].split for name in ("main", "coding")] == [True, False]
    refused = chosen(700, MAIN, pool_mb=1000)["main"].refused
    assert refused[0].detail == "needs 10200 MB, 700 MB free and 1000 MB lent"


def in_turn(free_mb: int, *experts: ExpertSpec, pinned: tuple[str, ...] = ()) -> dict[str, str | None]:
    given = choose_in_turn(experts, WHOLE, free_mb, failed={}, running={}, pinned=pinned)
    return {one.expert: name_of(one) for one in given}


def test_models_that_take_turns_have_to_fit_alone_only() -> None:
    other = ExpertSpec("other", (MIDDLE, FALLBACK))
    assert in_turn(10_200, MAIN, other) == {"main": "large", "other": "middle"}
    assert name_of(chosen(10_200, MAIN, other)["main"]) == "middle"


def test_models_that_take_turns_have_to_fit_beside_the_pinned_ones() -> None:
    pinned = ExpertSpec("pinned", (PINNED,))
    assert in_turn(10_400, MAIN, pinned, pinned=("pinned",)) == {"main": "middle", "pinned": "own"}
    assert in_turn(9_400, MAIN, pinned, pinned=("pinned",)) == {"main": "fallback", "pinned": "own"}


def serving(model: ModelSpec, version: str = "") -> dict[str, Assignment]:
    return {"main": Assignment("main", model, WHOLE[model].path, 0, (), version=version)}


def test_an_expert_keeps_what_serves_it_when_the_file_behind_it_is_broken_and_says_why() -> None:
    broken = {LARGE: FileFacts("/m/large.gguf", 50, Reason.TRUNCATED, "cut short", "2")}
    after = tuple(chosen(20_000, facts=broken).values())
    kept = held(after, serving(LARGE, "1"), [MAIN])
    assert name_of(kept["main"]) == "large"
    assert [one.detail for one in kept["main"].refused] == ["cut short"]


def test_an_expert_does_not_keep_what_makes_room_for_another_or_has_left_its_list() -> None:
    assert held(tuple(chosen(6000).values()), serving(LARGE), [MAIN]) == {}
    shorter = ExpertSpec("main", (MIDDLE, FALLBACK))
    assert held(tuple(chosen(20_000, shorter).values()), serving(LARGE), [shorter]) == {}


def test_a_better_model_is_not_held_up_by_the_one_that_serves() -> None:
    assert held(tuple(chosen(20_000).values()), serving(MIDDLE), [MAIN]) == {}


def test_the_failure_of_a_new_file_does_not_count_against_the_old_one_that_runs() -> None:
    newer = {LARGE: FileFacts("/m/large.gguf", 50, version="2")}
    failed = {"/m/large.gguf": "upside down"}
    kept = chosen(20_000, facts=newer, failed=failed, running=serving(LARGE, "1"))["main"]
    assert (name_of(kept), kept.version) == ("large", "1")
    assert (
        name_of(chosen(20_000, facts=newer, failed=failed, running=serving(LARGE, "2"))["main"]) == "middle"
    )
