"""Weights over the whole range that is documented: what is picked is in proportion, whatever was picked before."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nwdisco.services import ServiceInstance, Weighted
from nwdisco.services.strategies_ranked import LEAST_WEIGHT, MOST_WEIGHT

PICKS = 300
weights = st.sampled_from([LEAST_WEIGHT, 0.3, 1.0, 7.0, MOST_WEIGHT]) | st.floats(LEAST_WEIGHT, MOST_WEIGHT)


def an(number: int, weight: float) -> ServiceInstance:
    return ServiceInstance("default", "printer", str(number), {"weight": repr(weight)})


def counts(strategy: Weighted, number: int) -> list[int]:
    """How often each of so many is picked."""
    picked = [0] * number
    for _ in range(PICKS):
        instance = strategy.pick()
        assert instance is not None
        picked[int(instance.id)] += 1
    return picked


def assert_in_proportion(picked: list[int], weights: list[float]) -> None:
    """But for a turn or two that each may have had due before, or has yet to come."""
    for figure, weight in zip(picked, weights, strict=True):
        assert abs(figure - PICKS * weight / sum(weights)) <= 2 * len(weights) + 2, picked


@given(st.lists(weights, min_size=1, max_size=5))
@example([MOST_WEIGHT, MOST_WEIGHT, LEAST_WEIGHT])
@example([MOST_WEIGHT, 0.9 * MOST_WEIGHT])
def test_after_the_lightest_was_alone_for_long_the_others_are_picked_in_proportion(weights: list[float]) -> None:
    strategy = Weighted(random.Random(1))
    lightest = len(weights)
    for number, weight in enumerate([*weights, LEAST_WEIGHT]):
        strategy.joined(an(number, weight))
    others = {str(number) for number in range(lightest)}
    for _ in range(20_000):
        assert strategy.pick(others) is not None
    strategy.left(an(lightest, LEAST_WEIGHT))
    assert_in_proportion(counts(strategy, lightest), weights)


@pytest.mark.parametrize(("before", "after"), [(LEAST_WEIGHT, MOST_WEIGHT), (MOST_WEIGHT, LEAST_WEIGHT), (1.0, 3.7)])
def test_weights_that_change_after_many_picks_are_in_proportion_from_then_on(before: float, after: float) -> None:
    strategy = Weighted(random.Random(1))
    for number in range(3):
        strategy.joined(an(number, before))
    for _ in range(100_000):
        strategy.pick()
    for number in range(3):
        strategy.changed(an(number, after))
    assert_in_proportion(counts(strategy, 3), [after] * 3)
