"""What the tests of a registry share: inputs that none can hold, what was heard, a model beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import uuid4

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nwdisco.errors import RegistryKeyError
from nwdisco.services.registry import MAX_KEY_BYTES, MAX_VALUE_BYTES, Change, Registry
from tests.machines import DEADLINE_S, wait_until

T = TypeVar("T")
TTL_S = 2
"""The shortest that a lease can have."""
QUICK = settings(max_examples=30, stateful_step_count=20)

Call = Callable[[Registry, Any], object]
ON_A_KEY: dict[str, Call] = {
    "put": lambda registry, key: registry.put(key, "1"),
    "put_all": lambda registry, key: registry.put_all({"fine": "1", key: "1"}),
    "delete": lambda registry, key: registry.delete(key),
    "get": lambda registry, key: registry.get(key),
}
ON_A_KEY_OR_THE_TOP: dict[str, Call] = {
    "delete_subtree": lambda registry, key: registry.delete_subtree(key),
    "subtree": lambda registry, key: registry.subtree(key),
    "children": lambda registry, key: registry.children(key),
    "follow": lambda registry, key: registry.follow(key, lambda change: None),
    "watch": lambda registry, key: registry.watch(key),
}
EMPTY_KEYS = ["", "/"]
BAD_KEYS = ["a//b", "a/", "//a", "/a/", "a\nb", "a\0b", "\x7f", "\ud800", "x" * (MAX_KEY_BYTES + 1)]
BAD_KEYS += ["é" * (MAX_KEY_BYTES // 2 + 1)]
NO_TEXT = [5, None, b"a"]
BAD_VALUES = [5, None, b"a", "\ud800", "x" * (MAX_VALUE_BYTES + 1), "é" * (MAX_VALUE_BYTES // 2 + 1)]


def put(key: str, value: str) -> Change:
    return Change("put", key, value)


def gone(key: str) -> Change:
    return Change("delete", key, None)


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """What each of these gives, called in a thread of its own, all let go together."""
    gate = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        gate.wait(DEADLINE_S)
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def not_refused(registry: Registry, call: Call, wrong: Sequence[Any]) -> list[Any]:
    """Those of these that the call takes without a RegistryKeyError."""
    taken = []
    for one in wrong:
        try:
            call(registry, one)
        except RegistryKeyError:
            continue
        taken.append(one)
    return taken


class Heard(list[Change]):
    """What a `follow` was told."""

    def until(self, *last: Change) -> Heard:
        """Wait until these are what it was told last, in any order: they changed at once."""
        wait_until(lambda: set(self[-len(last) :]) == set(last), f"{last} at the end of {self}")
        return self

    def state(self) -> dict[str, str]:
        """What is there, for one who has heard all of this."""
        there: dict[str, str] = {}
        for change in self:
            if change.value is None:
                del there[change.key]
            else:
                there[change.key] = change.value
        return there


def tells(heard: Sequence[Change], happened: Sequence[Change]) -> bool:
    """Whether somebody who began to follow at some moment heard what was there then, and each change since, once, in order."""
    there = Heard()
    for moment in range(len(happened) + 1):
        known = {put(key, value) for key, value in there.state().items()}
        if set(heard[: len(known)]) == known and list(heard[len(known) :]) == list(happened[moment:]):
            return True
        there += happened[moment : moment + 1]
    return False


class RegistryAndModel(RuleBasedStateMachine):
    """A registry, beneath a key of this run's own, beside a plain dict (which keeps the order of creation as it should be)."""

    part = st.sampled_from(["a", "b", "ab", "a b", "a-b", "a.b", "0", "ä", "\U0001f5a8"])
    keys = st.lists(part, min_size=1, max_size=3).map("/".join)
    values = st.sampled_from(["", "1", "2", "line\nline", "\0", "ä\U0001f5a8"])

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self.registry = registry
        self.top = uuid4().hex
        self.model: dict[str, str] = {}
        self.heard = Heard()
        self.following = registry.follow(self.top, self.heard.append)

    def beneath(self, key: str) -> dict[str, str]:
        return {k: value for k, value in self.model.items() if k == key or k.startswith(key + "/")}

    def at(self, key: str) -> str:
        return f"{self.top}/{key}" if key else self.top

    @rule(key=keys, value=values, only_if_absent=st.booleans())
    def put(self, key: str, value: str, only_if_absent: bool) -> None:
        done = not (only_if_absent and self.at(key) in self.model)
        assert self.registry.put(self.at(key), value, only_if_absent=only_if_absent) == done
        if done:
            self.model[self.at(key)] = value

    @rule(values=st.dictionaries(keys, values, min_size=1, max_size=4), only_if_absent=st.booleans())
    def put_all(self, values: dict[str, str], only_if_absent: bool) -> None:
        new = {self.at(key): value for key, value in values.items()}
        done = not (only_if_absent and new.keys() & self.model.keys())
        assert self.registry.put_all(new, only_if_absent=only_if_absent) == done
        if done:
            self.model |= dict(sorted(new.items()))

    @rule(key=keys)
    def delete(self, key: str) -> None:
        there = self.model.pop(self.at(key), None) is not None
        assert self.registry.delete(self.at(key)) == there

    @rule(key=keys | st.just(""))
    def delete_subtree(self, key: str) -> None:
        beneath = self.beneath(self.at(key))
        assert self.registry.delete_subtree(self.at(key)) == len(beneath)
        self.model = {key: value for key, value in self.model.items() if key not in beneath}

    @rule(key=keys)
    def get(self, key: str) -> None:
        assert self.registry.get(self.at(key)) == self.model.get(self.at(key))

    @rule(key=keys | st.just(""))
    def subtree(self, key: str) -> None:
        found = self.registry.subtree(self.at(key))
        assert list(found.items()) == sorted(self.beneath(self.at(key)).items())

    @rule(key=keys | st.just(""))
    def children(self, key: str) -> None:
        above = self.at(key) + "/"
        names = {k.removeprefix(above).split("/")[0] for k in self.model if k.startswith(above)}
        assert self.registry.children(self.at(key)) == sorted(names)

    @invariant()
    def all_is_there_in_the_order_of_creation(self) -> None:
        assert list(self.registry.subtree(self.top, by_creation=True).items()) == list(self.model.items())

    def teardown(self) -> None:
        self.registry.put(self.at("end"), "1")
        assert self.heard.until(put(self.at("end"), "1")).state() == self.model | {self.at("end"): "1"}
        self.following.close()
        self.registry.delete_subtree(self.top)


def works(registry: Registry) -> bool:
    """Whether it puts, under a lease, and follows; it is closed afterwards."""
    heard = Heard()
    with registry, registry.follow("a", heard.append), registry.lease(TTL_S) as lease:
        registry.put("a", "1", lease=lease)
        heard.until(put("a", "1"))
    return True
