"""Strategies: which instance of a service is next.

Each keeps what it must know as instances join, change and leave, so that a pick costs microseconds however many there are.
They do no I/O and hold no lock: one caller at a time, which a Pool sees to. One object serves one service.

Where several would do, chance has a word in who comes first: programs that start together would else all pick the same.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Container, Sequence
from typing import Final, Protocol, runtime_checkable

from .instance import InstanceKey, ServiceInstance
from .strategies_ranked import LeastUsed, Weighted

TRIES = 8
"""How often Random tries to hit an instance that is not avoided, before it looks at all."""
HEALTHY: Final = frozenset({"ok", "up", "passing", "healthy", "1", "true"})
"""What the property `health` says of a healthy instance, in any case."""


@runtime_checkable
class Strategy(Protocol):
    def joined(self, instance: ServiceInstance) -> None:
        """It is there from now on."""

    def changed(self, instance: ServiceInstance) -> None:
        """Its properties are others now."""

    def left(self, instance: ServiceInstance) -> None:
        """It is there no more; whatever it was picked for has no use that could end."""

    def pick(self, avoid: Container[str] = ()) -> ServiceInstance | None:
        """The next one whose id is not to be avoided; None when there is none."""

    def done(self, instance: ServiceInstance) -> None:
        """A use, which began with a pick, has ended. Maybe of one that has left."""


Function = Callable[[Sequence[ServiceInstance]], ServiceInstance | None]
"""A choice of one's own: of all these, one, or None."""
Strategies = str | Strategy | Function
"""How a strategy is given: by its name, as an object, or as a function (see Chosen)."""


class RoundRobin:
    """One after the other: of those that are there all the time (and are not avoided) none is picked twice before each other
    is picked once. A newcomer waits for its first turn until the others had theirs."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._turns: OrderedDict[InstanceKey, ServiceInstance] = OrderedDict()
        """In the order in which they come."""
        self._begun = False

    def joined(self, instance: ServiceInstance) -> None:
        self._turns[instance.key] = instance

    changed = joined

    def left(self, instance: ServiceInstance) -> None:
        self._turns.pop(instance.key, None)

    def pick(self, avoid: Container[str] = ()) -> ServiceInstance | None:
        if not self._begun and self._turns:
            self._begun = True
            for key in list(self._turns)[: self._rng.randrange(len(self._turns))]:
                self._turns.move_to_end(key)
        for key, instance in self._turns.items():
            if key.id not in avoid:
                self._turns.move_to_end(key)
                return instance
        return None

    def done(self, instance: ServiceInstance) -> None:
        """It does not matter here."""


class Random:
    """Any, all as likely."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._instances: list[ServiceInstance] = []
        self._places: dict[InstanceKey, int] = {}

    def joined(self, instance: ServiceInstance) -> None:
        place = self._places.setdefault(instance.key, len(self._instances))
        self._instances[place : place + 1] = [instance]

    changed = joined

    def left(self, instance: ServiceInstance) -> None:
        place = self._places.pop(instance.key, None)
        if place is None:
            return
        last = self._instances.pop()
        if place < len(self._instances):
            self._instances[place] = last
            self._places[last.key] = place

    def pick(self, avoid: Container[str] = ()) -> ServiceInstance | None:
        if not self._instances:
            return None
        for _ in range(TRIES):
            instance = self._rng.choice(self._instances)
            if instance.id not in avoid:
                return instance
        wanted = [instance for instance in self._instances if instance.id not in avoid]
        return self._rng.choice(wanted) if wanted else None

    def done(self, instance: ServiceInstance) -> None:
        """It does not matter here."""


def says_healthy(instance: ServiceInstance) -> bool:
    """Its property `health` says so, or is missing."""
    health = instance.properties.get("health")
    return health is None or health.strip().lower() in HEALTHY


class Healthy:
    """Those that are healthy, by another strategy (round robin)."""

    def __init__(
        self, inner: Strategy | None = None, is_healthy: Callable[[ServiceInstance], bool] = says_healthy
    ) -> None:
        self._inner = RoundRobin() if inner is None else inner
        self._is_healthy = is_healthy
        self._healthy: set[InstanceKey] = set()

    def joined(self, instance: ServiceInstance) -> None:
        if not self._is_healthy(instance):
            self.left(instance)
        elif instance.key in self._healthy:
            self._inner.changed(instance)
        else:
            self._healthy.add(instance.key)
            self._inner.joined(instance)

    changed = joined

    def left(self, instance: ServiceInstance) -> None:
        if instance.key in self._healthy:
            self._healthy.remove(instance.key)
            self._inner.left(instance)

    def pick(self, avoid: Container[str] = ()) -> ServiceInstance | None:
        return self._inner.pick(avoid)

    def done(self, instance: ServiceInstance) -> None:
        self._inner.done(instance)


class Chosen:
    """By a function of one's own, which is given all that are there and not avoided, in the order in which they joined, and
    gives one of them, or None. A pick costs what the function costs."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self._instances: dict[InstanceKey, ServiceInstance] = {}
        self._all: tuple[ServiceInstance, ...] | None = ()
        """None when it must be made anew."""

    def joined(self, instance: ServiceInstance) -> None:
        self._instances[instance.key] = instance
        self._all = None

    changed = joined

    def left(self, instance: ServiceInstance) -> None:
        self._instances.pop(instance.key, None)
        self._all = None

    def pick(self, avoid: Container[str] = ()) -> ServiceInstance | None:
        if self._all is None:
            self._all = tuple(self._instances.values())
        wanted = self._all
        if avoid:
            wanted = tuple(instance for instance in wanted if instance.id not in avoid)
        if not wanted:
            return None
        chosen = self._function(wanted)
        if chosen is None:
            return None
        is_there = isinstance(chosen, ServiceInstance) and self._instances.get(chosen.key) == chosen
        if not is_there or chosen.id in avoid:
            raise ValueError(
                f"the function chose {chosen!r}, which is none of those that it was given: return one of them, or None"
            )
        return chosen

    def done(self, instance: ServiceInstance) -> None:
        """It does not matter here."""


_BY_NAME: Final[dict[str, Callable[[], Strategy]]] = {
    "round robin": RoundRobin,
    "random": Random,
    "least used": LeastUsed,
    "weighted": Weighted,
    "healthy": Healthy,
}


def strategy_named(name: str) -> Strategy:
    """A new one. Raises ValueError for a name that is none."""
    if name not in _BY_NAME:
        names = ", ".join(repr(known) for known in _BY_NAME)
        raise ValueError(f"there is no strategy {name!r}: give one of {names}, a strategy or a function of your own")
    return _BY_NAME[name]()


def strategy_of(given: Strategies) -> Strategy:
    """By its name, as it is, or from a function of one's own. Raises ValueError."""
    if isinstance(given, str):
        return strategy_named(given)
    if isinstance(given, type):
        raise ValueError(f"{given.__name__} is the class: give one of it, {given.__name__}()")
    if isinstance(given, Strategy):
        return given
    if callable(given):
        return Chosen(given)
    raise ValueError(f"{given!r} is no strategy: give its name, a strategy, or a function of your own")
