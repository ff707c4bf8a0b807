"""Which model a machine grows to by itself."""

import pytest

from clusterkit.config.catalogue import ModelSpec
from hearth.one_machine.growth_choice import Machine, better_models, expected_tokens_per_s

ROOMY = Machine(room_mb=16_000, threads=4)


def model(name: str, megabytes: float, *, memory_mb: int = 1000, verified: bool = True) -> ModelSpec:
    return ModelSpec(
        name=name,
        url="https://example.org/x.gguf",
        filename=f"{name}.gguf",
        memory_mb=memory_mb,
        bytes=int(megabytes * 10**6),
        sha256="0" * 64 if verified else None,
    )


LARGE, MIDDLE, LIGHT, BUILT_IN = (
    model("large", 1900),
    model("middle", 1100),
    model("light", 490),
    model("s", 100),
)
LIST = (LARGE, MIDDLE, LIGHT, BUILT_IN)


def names(models: tuple[ModelSpec, ...]) -> list[str]:
    return [one.name for one in models]


@pytest.mark.req("BEY-19")
def test_what_stands_before_the_model_that_is_here_is_wanted_in_the_order_of_the_list() -> None:
    assert names(better_models(LIST, {"s"}, ROOMY)) == ["large", "middle", "light"]
    assert names(better_models(LIST, {"middle", "s"}, ROOMY)) == ["large"]
    assert better_models(LIST, {"large", "s"}, ROOMY) == ()


def test_a_persons_own_model_in_front_is_left_to_be_the_best() -> None:
    assert better_models((model("own", 50, verified=False), *LIST), {"own", "s"}, ROOMY) == ()


def test_a_model_that_is_here_and_fits_no_more_does_not_keep_others_away() -> None:
    huge = model("huge", 1500, memory_mb=64_000)
    assert names(better_models((huge, LIGHT, BUILT_IN), {"huge", "s"}, ROOMY)) == ["light"]


@pytest.mark.req("BEY-19")
@pytest.mark.parametrize(
    ("refused", "machine"),
    [
        (model("m", 2001), ROOMY),
        (model("m", 500, verified=False), ROOMY),
        (model("m", 500, memory_mb=16_001), ROOMY),
        (model("m", 1900), Machine(room_mb=16_000, threads=1)),
    ],
)
def test_nothing_is_wanted_that_is_too_large_too_slow_or_unverified(
    refused: ModelSpec, machine: Machine
) -> None:
    assert better_models((refused, BUILT_IN), {"s"}, machine) == ()


def test_speed_grows_with_threads_until_the_memory_is_busy() -> None:
    one, two, many, more = (expected_tokens_per_s(10**9, threads) for threads in (1, 2, 8, 64))
    assert one < two < many == more
    assert expected_tokens_per_s(2 * 10**9, 2) == two / 2
