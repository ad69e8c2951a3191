"""Who is next, by each strategy: fair as instances come and go, in whatever order, and beside a model."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco.services import (
    Chosen,
    Healthy,
    LeastUsed,
    Random,
    RoundRobin,
    ServiceInstance,
    Strategy,
    Weighted,
    strategy_named,
)
from nwdisco.services.strategies import strategy_of

PICKS = 10_000
NAMES = ["round robin", "random", "least used", "weighted", "healthy"]


def an(id: int | str, **properties: str) -> ServiceInstance:
    return ServiceInstance("default", "printer", str(id), properties)


def first_of(instances: Sequence[ServiceInstance]) -> ServiceInstance:
    return instances[0]


def joined(strategy: Strategy, *instances: ServiceInstance) -> None:
    for instance in instances:
        strategy.joined(instance)


def picked(strategy: Strategy, avoid: Sequence[str] = ()) -> str:
    instance = strategy.pick(avoid)
    assert instance is not None
    return instance.id


def counts(strategy: Strategy, picks: int = PICKS) -> Counter[str]:
    counter: Counter[str] = Counter()
    for _ in range(picks):
        instance = strategy.pick()
        assert instance is not None
        counter[instance.id] += 1
        strategy.done(instance)
    return counter


# --- all of them ------------------------------------------------------------------------------------------

MAKERS: dict[str, Callable[[], Strategy]] = {
    **{name: lambda name=name: strategy_named(name) for name in NAMES},  # type: ignore[misc]
    "chosen": lambda: Chosen(first_of),
    "healthy, least used": lambda: Healthy(LeastUsed()),
    "healthy, weighted": lambda: Healthy(Weighted()),
}
every_strategy = pytest.mark.parametrize("make", list(MAKERS.values()), ids=list(MAKERS))

steps = st.lists(
    st.tuples(
        st.sampled_from(["joined", "changed", "left", "pick", "pick", "pick", "done"]),
        st.integers(0, 5),
        st.sampled_from(["", "down", "0.5", "3", "broken"]),
        st.sets(st.integers(0, 5).map(str), max_size=5),
    ),
    max_size=60,
)


@every_strategy
@given(steps)
def test_whatever_happens_in_whatever_order_a_pick_is_one_that_is_there_and_not_avoided(
    make: Callable[[], Strategy], steps: list[tuple[str, int, str, set[str]]]
) -> None:
    strategy = make()
    there: dict[str, ServiceInstance] = {}
    for what, id, word, avoid in steps:
        properties = {"health": "down"} if word == "down" else {"weight": word} if word else {}
        instance = an(id, **properties)
        if what in ("joined", "changed"):
            getattr(strategy, what)(instance)
            there[instance.id] = instance
        elif what == "left":
            strategy.left(instance)
            there.pop(instance.id, None)
        elif what == "done":
            strategy.done(instance)
        else:
            wanted = [there[id] for id in there if id not in avoid]
            if isinstance(strategy, Healthy):
                wanted = [one for one in wanted if one.properties.get("health") != "down"]
            found = strategy.pick(avoid)
            assert found in wanted if wanted else found is None


@pytest.mark.parametrize("name", NAMES)
def test_one_that_was_avoided_does_not_catch_up_afterwards(name: str) -> None:
    strategy = strategy_named(name)
    joined(strategy, an("a"), an("b"))
    for _ in range(500):
        instance = strategy.pick(["a"])
        assert instance == an("b")
        strategy.done(instance)
    later = counts(strategy, 100)
    assert later["b"] > 20, later


@every_strategy
def test_nobody_there_is_nobody_picked(make: Callable[[], Strategy]) -> None:
    strategy = make()
    assert strategy.pick() is None
    strategy.joined(an("a"))
    assert strategy.pick(["a"]) is None
    assert strategy.pick() == an("a")
    strategy.left(an("a"))
    strategy.left(an("a"))
    strategy.done(an("a"))
    assert strategy.pick() is None


@every_strategy
def test_a_pick_gives_the_instance_as_it_is_now(make: Callable[[], Strategy]) -> None:
    strategy = make()
    strategy.joined(an("a", port="80"))
    strategy.changed(an("a", port="81"))
    assert strategy.pick() == an("a", port="81")


# --- round robin ------------------------------------------------------------------------------------------


def test_round_robin_goes_round() -> None:
    strategy = RoundRobin()
    joined(strategy, *map(an, "abc"))
    turn = [picked(strategy) for _ in range(3)]
    assert sorted(turn) == ["a", "b", "c"]
    assert [picked(strategy) for _ in range(6)] == turn * 2


def test_programs_that_pick_once_do_not_all_pick_the_same() -> None:
    for make in (RoundRobin, LeastUsed, Weighted, Random):
        firsts: Counter[str] = Counter()
        for seed in range(200):
            strategy = make(random.Random(seed))
            joined(strategy, *map(an, "abcd"))
            firsts[picked(strategy)] += 1
        assert set(firsts) == set("abcd"), make
        assert max(firsts.values()) < 90, (make, firsts)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 7)), max_size=80), st.integers(1, 4))
def test_round_robin_is_fair_to_those_who_stay_as_others_come_and_go(
    steps: list[tuple[bool, int, int]], staying: int
) -> None:
    strategy = RoundRobin()
    stayers = [f"stays {number}" for number in range(staying)]
    joined(strategy, *map(an, stayers))
    counter: Counter[str] = Counter(dict.fromkeys(stayers, 0))
    for joins, id, picks in steps:
        (strategy.joined if joins else strategy.left)(an(id))
        for _ in range(picks):
            counter[picked(strategy)] += 1
            figures = [counter[stayer] for stayer in stayers]
            assert max(figures) - min(figures) <= 1


def test_over_ten_thousand_picks_round_robin_differs_by_one_at_most() -> None:
    strategy, rng = RoundRobin(), random.Random(1)
    joined(strategy, *(an(f"stays {number}") for number in range(7)))
    counter: Counter[str] = Counter()
    for _ in range(PICKS):
        if rng.random() < 0.3:
            (strategy.joined if rng.random() < 0.5 else strategy.left)(an(rng.randrange(20)))
        counter[picked(strategy)] += 1
    figures = [counter[f"stays {number}"] for number in range(7)]
    assert max(figures) - min(figures) <= 1, figures
    assert min(figures) > PICKS / 27 - 1, figures


# --- random -----------------------------------------------------------------------------------------------


def test_random_picks_all_as_often_within_what_chance_allows() -> None:
    strategy = Random(random.Random(1))
    joined(strategy, *map(an, range(20)))
    for id in range(0, 20, 2):
        strategy.left(an(id))
    counter = counts(strategy)
    assert set(counter) == {str(id) for id in range(1, 20, 2)}
    chi_square = sum((figure - 1000) ** 2 / 1000 for figure in counter.values())
    assert chi_square < 40, counter  # of 9 degrees of freedom: by chance once in 100,000 times


def test_random_finds_the_only_one_that_is_not_avoided_among_many() -> None:
    strategy = Random(random.Random(1))
    joined(strategy, *map(an, range(1000)))
    avoid = {str(id) for id in range(999)}
    assert all(picked(strategy, list(avoid)) == "999" for _ in range(5))


# --- least used -------------------------------------------------------------------------------------------


def test_least_used_picks_the_one_with_the_fewest_uses_under_way_exactly() -> None:
    strategy, rng = LeastUsed(), random.Random(1)
    joined(strategy, *map(an, range(10)))
    uses: Counter[str] = Counter(dict.fromkeys(map(str, range(10)), 0))
    picks: Counter[str] = Counter(uses)
    for _ in range(PICKS):
        id = picked(strategy)
        assert uses[id] == min(uses.values())
        assert picks[id] == min(picks[other] for other in uses if uses[other] == uses[id])
        uses[id] += 1
        picks[id] += 1
        while sum(uses.values()) > 5 and rng.random() < 0.6:
            ended = rng.choice([id for id in uses if uses[id]])
            strategy.done(an(ended))
            uses[ended] -= 1


@given(steps)
def test_least_used_beside_a_model_as_instances_come_and_go(steps: list[tuple[str, int, str, set[str]]]) -> None:
    strategy = LeastUsed()
    uses: dict[str, int] = {}
    picks: dict[str, int] = {}
    for what, number, _, avoid in steps:
        id = str(number)
        if what in ("joined", "changed"):
            getattr(strategy, what)(an(id))
            if id not in uses:
                picks[id] = min(picks.values(), default=0)
                uses[id] = 0
        elif what == "left":
            strategy.left(an(id))
            uses.pop(id, None)
            picks.pop(id, None)
        elif what == "done":
            strategy.done(an(id))
            if uses.get(id):
                uses[id] -= 1
        elif wanted := {id: (uses[id], picks[id]) for id in uses if id not in avoid}:
            id = picked(strategy, list(avoid))
            assert wanted[id] == min(wanted.values())
            for other in uses:
                if other in avoid and (uses[other], picks[other]) < wanted[id]:
                    picks[other] = max(picks[other], picks[id])
            uses[id] += 1
            picks[id] += 1


def test_a_newcomer_does_not_get_all_that_the_others_had_before() -> None:
    strategy = LeastUsed()
    joined(strategy, an("a"), an("b"))
    counts(strategy, 1000)
    strategy.joined(an("c"))
    later = counts(strategy, 300)
    assert max(later.values()) - min(later.values()) <= 1, later


def test_uses_that_never_end_keep_an_instance_from_being_picked() -> None:
    strategy = LeastUsed()
    joined(strategy, an("hangs"))
    picked(strategy)
    strategy.joined(an("quick"))
    assert set(counts(strategy, 50)) == {"quick"}


# --- weighted ---------------------------------------------------------------------------------------------


def test_weighted_picks_in_proportion() -> None:
    strategy = Weighted(random.Random(1))
    weights = {"a": 1.0, "b": 2.0, "c": 5.0, "d": 0.5, "e": 1.5}
    joined(strategy, *(an(id, weight=str(weight)) for id, weight in weights.items()))
    counter = counts(strategy)
    for id, weight in weights.items():
        assert abs(counter[id] - PICKS * weight / 10) <= 2, counter


def test_heavy_ones_come_in_between_light_ones() -> None:
    strategy = Weighted(random.Random(1))
    joined(strategy, an("heavy", weight="3"), an("light a"), an("light b"))
    turns = [picked(strategy) for _ in range(1000)]
    longest = max(len(run) for run in "".join("H" if turn == "heavy" else "." for turn in turns).split("."))
    assert longest <= 4, longest


def test_a_weight_that_changes_counts_from_then_on() -> None:
    strategy = Weighted(random.Random(1))
    joined(strategy, an("a"), an("b"))
    counts(strategy, 1000)
    strategy.changed(an("a", weight="9"))
    assert abs(counts(strategy, 1000)["a"] - 900) <= 2
    strategy.changed(an("a"))
    strategy.joined(an("c", weight="2"))
    assert abs(counts(strategy, 1000)["c"] - 500) <= 2


@pytest.mark.parametrize("weight", ["", "heavy", "0", "-1", "nan", "inf", "1e-9", "1e9"])
def test_a_broken_weight_is_warned_about_and_taken_for_one(weight: str, caplog: pytest.LogCaptureFixture) -> None:
    strategy = Weighted()
    joined(strategy, an("a", weight=weight), an("b", weight="3"))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "default/printer/a is taken for 1" in caplog.text
    assert abs(counts(strategy, 400)["a"] - 100) <= 2


# --- healthy ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("health", ["ok", "UP", "passing", "Healthy", "1", "true", " ok "])
def test_these_words_mean_healthy(health: str) -> None:
    strategy = Healthy()
    strategy.joined(an("a", health=health))
    assert picked(strategy) == "a"


@pytest.mark.parametrize("health", ["", "down", "0", "false", "critical", "okay"])
def test_and_any_other_does_not(health: str) -> None:
    strategy = Healthy()
    strategy.joined(an("a", health=health))
    assert strategy.pick() is None


def test_healthy_follows_each_one_s_health_and_leaves_the_rest_to_the_inner_strategy() -> None:
    strategy = Healthy(LeastUsed())
    joined(strategy, an("a"), an("b", health="down"), an("c"))
    assert set(counts(strategy, 10)) == {"a", "c"}
    strategy.changed(an("b", health="up"))
    strategy.changed(an("a", health="down"))
    assert set(counts(strategy, 10)) == {"b", "c"}
    busy = strategy.pick()
    assert busy is not None
    assert set(counts(strategy, 10)) == {"b", "c"} - {busy.id}


def test_what_healthy_means_can_be_one_s_own_function() -> None:
    strategy = Healthy(is_healthy=lambda instance: float(instance.properties["load"]) < 0.8)
    joined(strategy, an("a", load="0.9"), an("b", load="0.2"))
    assert set(counts(strategy, 10)) == {"b"}


# --- one's own --------------------------------------------------------------------------------------------


def test_a_function_of_one_s_own_is_given_all_in_the_order_of_joining_without_those_avoided() -> None:
    seen: list[list[str]] = []

    def choose(instances: Sequence[ServiceInstance]) -> ServiceInstance | None:
        seen.append([instance.id for instance in instances])
        return None

    strategy = Chosen(choose)
    joined(strategy, *map(an, "cab"))
    assert strategy.pick() is None
    assert strategy.pick("a") is None
    strategy.left(an("c"))
    strategy.pick()
    assert seen == [["c", "a", "b"], ["c", "b"], ["a", "b"]]


@pytest.mark.parametrize("other", [an("x"), an("a", port="1"), an("b")])
def test_a_function_that_chooses_what_it_was_not_given_is_told_so(other: ServiceInstance) -> None:
    strategy = Chosen(lambda instances: other)
    joined(strategy, an("a"), an("b"))
    with pytest.raises(ValueError, match="none of those that it was given"):
        strategy.pick(["b"])


def test_strategies_have_names() -> None:
    classes = [RoundRobin, Random, LeastUsed, Weighted, Healthy]
    assert [type(strategy_named(name)) for name in NAMES] == classes
    with pytest.raises(
        ValueError, match=r"no strategy 'roundrobin'.*'round robin', 'random', 'least used', 'weighted'"
    ):
        strategy_named("roundrobin")


def test_a_strategy_is_given_by_name_as_an_object_or_as_a_function() -> None:
    own = RoundRobin()
    assert strategy_of(own) is own
    assert isinstance(strategy_of("random"), Random)
    assert isinstance(strategy_of(first_of), Chosen)
    with pytest.raises(ValueError, match=r"RoundRobin is the class: give one of it, RoundRobin\(\)"):
        strategy_of(RoundRobin)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="7 is no strategy"):
        strategy_of(7)  # type: ignore[arg-type]
