"""The strategies that rank instances: by how much they are used, or by their weight."""

from __future__ import annotations

import logging
import random
from collections.abc import Container

from .instance import InstanceKey, ServiceInstance
from .strategies_ranking import Ranking

log = logging.getLogger("nwdisco")

LEAST_WEIGHT, MOST_WEIGHT = 1e-6, 1e6
LAP = 10**15
"""From one turn to the next of weight 1. A whole number: the clock runs on for ever, and floats would lose the turns of the
heaviest. With the most weight it still has nine digits behind its first."""


class LeastUsed:
    """The one with the fewest uses under way, of these the one with the fewest picks.

    Picks are counted so that nobody has to catch up: a newcomer begins with the fewest of those there, and one that is avoided
    counts along with those that are picked in its place.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._instances: dict[InstanceKey, ServiceInstance] = {}
        self._uses: dict[InstanceKey, int] = {}
        self._picks: dict[InstanceKey, int] = {}
        self._chances: dict[InstanceKey, float] = {}
        self._by_use, self._by_picks = Ranking(), Ranking()

    def joined(self, instance: ServiceInstance) -> None:
        key = instance.key
        if key not in self._instances:
            fewest = self._by_picks.first(lambda _: True)
            self._uses[key] = 0
            self._picks[key] = 0 if fewest is None else self._picks[fewest]
            self._chances[key] = self._rng.random()
            self._rank(key)
        self._instances[key] = instance

    changed = joined

    def left(self, instance: ServiceInstance) -> None:
        key = instance.key
        if self._instances.pop(key, None) is None:
            return
        for table in (self._uses, self._picks, self._chances):
            del table[key]
        self._by_use.remove(key)
        self._by_picks.remove(key)

    def pick(self, avoid: Container[str] = ()) -> ServiceInstance | None:
        avoided: list[InstanceKey] = []

        def is_wanted(key: InstanceKey) -> bool:
            if key.id in avoid:
                avoided.append(key)
                return False
            return True

        key = self._by_use.first(is_wanted)
        if key is None:
            return None
        for other in avoided:
            if self._picks[other] < self._picks[key]:
                self._picks[other] = self._picks[key]
                self._rank(other)
        self._uses[key] += 1
        self._picks[key] += 1
        self._rank(key)
        return self._instances[key]

    def done(self, instance: ServiceInstance) -> None:
        if self._uses.get(instance.key):
            self._uses[instance.key] -= 1
            self._rank(instance.key)

    def _rank(self, key: InstanceKey) -> None:
        self._by_use.set(key, (self._uses[key], self._picks[key], self._chances[key]))
        self._by_picks.set(key, (self._picks[key], 0, 0))


class Weighted:
    """In proportion to the property `weight`, 0.000001 to 1000000, 1 where there is none; smoothly: heavy ones come in between
    light ones, not in a row. A weight that is none is warned about in the log and taken for 1."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._instances: dict[InstanceKey, ServiceInstance] = {}
        self._gaps: dict[InstanceKey, int] = {}
        """From one turn to the next: the inverse of the weight."""
        self._turns: dict[InstanceKey, int] = {}
        """When it is next, on a clock that each pick sets to the turn of who was picked."""
        self._now = 0
        self._ranking = Ranking()

    def joined(self, instance: ServiceInstance) -> None:
        key = instance.key
        gap = round(LAP / weight(instance))
        if key not in self._instances:
            self._set_turn(key, self._now + int(self._rng.random() * gap))
        elif gap != self._gaps[key]:  # the rest of its wait shrinks or grows likewise
            self._set_turn(key, self._now + (self._turns[key] - self._now) * gap // self._gaps[key])
        self._instances[key], self._gaps[key] = instance, gap

    changed = joined

    def left(self, instance: ServiceInstance) -> None:
        key = instance.key
        if self._instances.pop(key, None) is not None:
            del self._gaps[key], self._turns[key]
            self._ranking.remove(key)

    def pick(self, avoid: Container[str] = ()) -> ServiceInstance | None:
        key = self._ranking.first(lambda key: key.id not in avoid)
        if key is None:
            return None
        self._now = max(self._now, self._turns[key])  # one that was avoided does not catch up
        self._set_turn(key, self._now + self._gaps[key])
        return self._instances[key]

    def done(self, instance: ServiceInstance) -> None:
        """It does not matter here."""

    def _set_turn(self, key: InstanceKey, turn: int) -> None:
        self._turns[key] = turn
        self._ranking.set(key, (turn, 0, 0))


def weight(instance: ServiceInstance) -> float:
    """What an instance's property says, 1 where it says nothing or nothing that can be."""
    text = instance.properties.get("weight", "1")
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if LEAST_WEIGHT <= value <= MOST_WEIGHT:
        return value
    log.warning(
        "the weight %r of %s is taken for 1: give a number from %g to %g",
        text[:20],
        "/".join(instance.key),
        LEAST_WEIGHT,
        MOST_WEIGHT,
    )
    return 1.0
