"""Which instance answers which model: pure decisions."""

import pytest

from clusterkit.http.openai_wire import ApiError
from moe_gateway.routing import Backend, Naming, RoutingTable, build_table, in_turn, route

NAMING = Naming(
    agent_model="hearth", agent_service="pipecatapp", default_expert="main", expert_prefix="expert-"
)


def backend(
    service: str, port: int = 1, *, healthy: bool = True, detail: str = "", waits: bool = False
) -> Backend:
    return Backend(service=service, host="127.0.0.1", port=port, healthy=healthy, detail=detail, waits=waits)


def table(*backends: Backend, catalogued: tuple[str, ...] = ("main", "coding")) -> RoutingTable:
    return build_table(NAMING, catalogued, backends)


def test_a_model_name_leads_to_the_expert_of_that_name() -> None:
    target = route(table(backend("expert-main"), backend("expert-coding", 2)), "coding")
    assert [(b.service, b.port) for b in in_turn(target, 0)] == [("expert-coding", 2)]


def test_auto_stands_for_the_default_expert() -> None:
    assert route(table(backend("expert-main")), "auto").service == "expert-main"


def test_the_agent_is_a_model_too() -> None:
    assert route(table(backend("pipecatapp")), "hearth").kind == "agent"


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ApiError) as caught:
        route(table(), "gpt-9")
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
    for name in ("gpt-9", "auto", "hearth", "main", "coding"):
        assert name in caught.value.message


def test_a_name_of_a_megabyte_is_not_repeated() -> None:
    with pytest.raises(ApiError) as caught:
        route(table(), "x" * 1_000_000)
    assert len(caught.value.message) < 300


def test_a_known_model_without_healthy_instances_asks_to_come_back() -> None:
    with pytest.raises(ApiError) as caught:
        route(table(backend("expert-main", healthy=False, detail="loading toy.gguf")), "main")
    assert (caught.value.status, caught.value.code) == (503, "model_unavailable")
    assert caught.value.retry_after
    assert "loading toy.gguf" in caught.value.message


def test_an_expert_that_never_ran_is_known_from_the_catalogue() -> None:
    with pytest.raises(ApiError, match="no instance is running") as caught:
        route(table(), "coding")
    assert caught.value.status == 503


def test_an_expert_outside_the_catalogue_is_known_once_it_runs() -> None:
    assert route(table(backend("expert-extra"), catalogued=()), "extra").service == "expert-extra"


def test_auto_is_unknown_when_its_expert_is() -> None:
    assert table(catalogued=()).names == ["hearth"]


def test_instances_take_turns() -> None:
    target = route(table(*(backend("expert-main", port) for port in (1, 2, 3))), "main")
    assert [[b.port for b in in_turn(target, turn)] for turn in range(4)] == [
        [1, 2, 3],
        [2, 3, 1],
        [3, 1, 2],
        [1, 2, 3],
    ]


def test_unhealthy_instances_are_never_tried() -> None:
    target = route(table(backend("expert-main", 1, healthy=False), backend("expert-main", 2)), "main")
    assert [[b.port for b in in_turn(target, turn)] for turn in range(3)] == [[2], [2], [2]]


def test_where_a_model_is_loading_requests_are_sent_to_wait_rather_than_refused() -> None:
    loading = backend("expert-main", 1, healthy=False, detail="toy is starting", waits=True)
    broken = backend("expert-main", 2, healthy=False, detail="no model can be used")
    target = route(table(broken, loading), "main")
    assert [b.port for b in in_turn(target, 0)] == [1]
    assert (target.ready, target.loading, target.detail) == (False, True, "toy is starting")


def test_an_instance_that_answers_at_once_is_preferred_to_one_where_requests_wait() -> None:
    target = route(table(backend("expert-main", 1, waits=True), backend("expert-main", 2)), "main")
    assert [[b.port for b in in_turn(target, turn)] for turn in range(2)] == [[2], [2]]
    assert not target.loading
