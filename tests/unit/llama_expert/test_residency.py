"""Who is in memory, who leaves for whom, and that everybody comes to their turn."""

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from llama_expert.residency import Decision, Limits, Resident, Wish, decide

BUDGET = 100


def resident(key: str, needed_mb: int = 40, **how: object) -> Resident[str]:
    return replace(Resident(key=key, needed_mb=needed_mb), **how)  # type: ignore[arg-type]


def decided(
    residents: list[Resident[str]],
    line: list[Wish[str]] | None = None,
    standing: list[Wish[str]] | None = None,
    *,
    now: float = 1000.0,
    idle: float | None = None,
) -> Decision[str]:
    limits = Limits(budget_mb=BUDGET, idle=idle, drain=300.0)
    return decide(limits, residents, line or [], standing or [], now)


def test_what_fits_is_loaded_at_once() -> None:
    decision = decided([resident("a")], [Wish("b", 60)])
    assert (decision.load, decision.end) == (("b",), ())


def test_the_least_recently_used_leaves_for_the_one_that_is_asked_for() -> None:
    here = [resident("new", 50, last_used=20.0), resident("old", 50, last_used=10.0)]
    decision = decided(here, [Wish("b", 50)])
    assert (decision.load, decision.end) == ((), ("old",))
    assert "new" not in decision.closed


def test_a_replaced_one_leaves_before_the_least_recently_used() -> None:
    here = [resident("old", 50, last_used=10.0), resident("replaced", 50, last_used=20.0, replaced=True)]
    assert decided(here, [Wish("b", 50)]).end == ("replaced",)


def test_a_busy_one_is_not_ended_but_admits_nobody_until_it_is_free() -> None:
    decision = decided([resident("a", 80, busy=1)], [Wish("b", 50)])
    assert (decision.load, decision.end, decision.closed) == ((), (), frozenset({"a"}))
    assert decided([resident("a", 80)], [Wish("b", 50)]).end == ("a",)


def test_nobody_leaves_in_vain() -> None:
    here = [resident("a", 40), resident("loading", 60, loaded=False)]
    decision = decided(here, [Wish("b", 70)])
    assert (decision.end, decision.closed) == ((), frozenset())


def test_memory_that_is_becoming_free_is_counted_and_nobody_else_leaves_for_it() -> None:
    here = [resident("going", 60, ending=True, loaded=False), resident("a", 40)]
    decision = decided(here, [Wish("b", 60)])
    assert (decision.load, decision.end) == ((), ())


def test_nobody_overtakes_the_head_of_the_line() -> None:
    decision = decided([resident("a", 80, busy=1)], [Wish("large", 90), Wish("small", 10)])
    assert decision.load == ()


def test_a_wish_that_can_never_be_met_holds_up_nobody() -> None:
    decision = decided([resident("p", 40, pinned=True)], [Wish("large", 90), Wish("small", 10)])
    assert decision.load == ("small",)


def test_one_whose_waiters_come_first_does_not_leave_for_those_behind() -> None:
    decision = decided([resident("a", 80)], [Wish("a", 80), Wish("b", 50)])
    assert (decision.end, decision.closed) == ((), frozenset())


def test_a_standing_wish_takes_free_memory_only() -> None:
    assert decided([resident("a", 80)], standing=[Wish("b", 20)]).load == ("b",)
    crowded = decided([resident("a", 80)], standing=[Wish("b", 30)])
    assert (crowded.load, crowded.end) == ((), ())
    assert decided([resident("a", 80, busy=1)], [Wish("b", 60)], [Wish("c", 10)]).load == ()


def test_an_idle_one_leaves_after_its_time_unless_it_is_pinned_busy_or_asked_for() -> None:
    assert decided([resident("a", last_used=880.0)], idle=120.0).end == ("a",)
    assert decided([resident("a", last_used=881.0)], idle=120.0).look_again_in == 1.0
    for kept in (resident("a", pinned=True), resident("a", busy=1), resident("a", loaded=False)):
        assert decided([kept], idle=120.0).end == ()
    assert decided([resident("a")], [Wish("a", 40)], idle=120.0).end == ()
    assert decided([resident("a")]).end == ()


def test_a_retired_one_ends_when_it_is_free_or_its_time_is_over() -> None:
    assert decided([resident("a", retired_since=999.0)]).end == ("a",)
    draining = decided([resident("a", busy=1, retired_since=800.0)])
    assert (draining.end, draining.look_again_in) == ((), 100.0)
    assert decided([resident("a", busy=1, retired_since=700.0)]).end == ("a",)


def test_a_dismissed_one_ends_once_it_is_free_however_long_that_takes() -> None:
    assert decided([resident("a", dismissed=True)]).end == ("a",)
    assert decided([resident("a", busy=1, dismissed=True)]).end == ()


@dataclass
class House:
    """Models in memory and requests for them, moved by the decisions."""

    needs: dict[str, int]
    pinned: set[str]
    residents: dict[str, Resident[str]] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)  #: a model's name for each request in the line
    served: int = 0
    now: float = 0.0

    def step(self) -> None:
        limits = Limits(budget_mb=BUDGET, idle=50.0)
        line = [Wish(name, self.needs[name]) for name in self.waiting]
        standing = [Wish(name, self.needs[name]) for name in sorted(self.pinned)]
        decision = decide(limits, list(self.residents.values()), line, standing, self.now)
        for name in decision.end:
            assert self.residents[name].busy == 0
            assert not self.residents[name].pinned
            self.residents[name] = replace(self.residents[name], ending=True, loaded=False)
        for name in decision.load:
            assert name not in self.residents
            self.residents[name] = Resident(
                key=name, needed_mb=self.needs[name], loaded=False, pinned=name in self.pinned
            )
        assert sum(one.needed_mb for one in self.residents.values()) <= BUDGET
        for name in list(self.waiting):
            one = self.residents.get(name)
            if one and one.loaded and name not in decision.closed:
                self.waiting.remove(name)
                self.served += 1
                self.residents[name] = replace(one, busy=one.busy + 1, last_used=self.now)

    def loads_and_ends_complete(self) -> None:
        self.residents = {k: one for k, one in self.residents.items() if not one.ending}
        for name, one in self.residents.items():
            self.residents[name] = replace(one, loaded=True)

    def a_request_ends(self, name: str) -> None:
        one = self.residents.get(name)
        if one and one.busy:
            self.residents[name] = replace(one, busy=one.busy - 1)


MODELS = "abcde"
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from(MODELS)),
        st.tuples(st.just("end"), st.sampled_from(MODELS)),
        st.tuples(st.just("complete"), st.just("")),
        st.tuples(st.just("pass"), st.just("")),
    ),
    max_size=60,
)


@given(
    needs=st.fixed_dictionaries({name: st.integers(1, 70) for name in MODELS}),
    pin=st.booleans(),
    events=EVENTS,
)
def test_memory_is_never_exceeded_nobody_busy_or_pinned_leaves_and_every_request_is_served_in_the_end(
    needs: dict[str, int], pin: bool, events: list[tuple[str, str]]
) -> None:
    house = House({**needs, "a": min(needs["a"], 30)}, {"a"} if pin else set())
    house.step()
    asked = 0
    for event, name in events:
        if event == "ask":
            house.waiting.append(name)
            asked += 1
        elif event == "end":
            house.a_request_ends(name)
        elif event == "complete":
            house.loads_and_ends_complete()
        else:
            house.now += 30.0
        house.step()
    for _ in range(4 * (len(house.waiting) + len(MODELS)) + 4):
        house.loads_and_ends_complete()
        for name in MODELS:
            while (one := house.residents.get(name)) and one.busy:
                house.a_request_ends(name)
        house.step()
    assert (house.waiting, house.served) == ([], asked)
