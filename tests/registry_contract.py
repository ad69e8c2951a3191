"""What every store behind a Registry promises, as tests: a third store is one class and a module that gives these fixtures.

    class TestMyRegistry(RegistryContract):
        @pytest.fixture
        def registry(self) -> Iterator[Registry]: ...   # one that is empty, closed after the test
        @pytest.fixture
        def another(self, registry: Registry) -> Iterator[Registry]: ...   # a second object on the same store

Where a store is not shared, `another` is the same object; one that is passes SharedRegistryContract too. Nothing here relies on
changes being told at once, nor on the order in which keys that changed at once are told.
"""

from __future__ import annotations

import math
import random
import threading
import time
from functools import partial
from typing import Any

import pytest
from hypothesis.stateful import run_state_machine_as_test

from nwdisco.errors import RegistryError, RegistryKeyError
from nwdisco.services.memory import MemoryRegistry
from nwdisco.services.registry import MAX_AT_ONCE, MAX_KEY_BYTES, MAX_VALUE_BYTES, Registry
from tests.machines import wait_until
from tests.registry_contract_following import FollowingContract
from tests.registry_tools import (
    BAD_KEYS,
    BAD_VALUES,
    EMPTY_KEYS,
    NO_TEXT,
    ON_A_KEY,
    ON_A_KEY_OR_THE_TOP,
    QUICK,
    TTL_S,
    Heard,
    RegistryAndModel,
    at_once,
    gone,
    not_refused,
    put,
)


class RegistryContract(FollowingContract):
    # --- keys, one at a time, several at once, and many at the same time ---

    def test_what_is_put_is_there_until_it_is_deleted(self, registry: Registry, another: Registry) -> None:
        assert another.get("a/b") is None
        assert registry.put("a/b", "1")
        assert another.get("a/b") == "1"
        assert registry.put("a/b", "2")
        assert another.get("a/b") == "2"
        assert registry.delete("a/b")
        assert another.get("a/b") is None
        assert not registry.delete("a/b")

    @pytest.mark.parametrize("value", ["", " ", "two\nlines", "\0", "ä\U0001f5a8", "x" * MAX_VALUE_BYTES])
    def test_any_text_is_a_value(self, registry: Registry, value: str) -> None:
        registry.put("a", value)
        assert registry.get("a") == value
        assert registry.subtree("a") == {"a": value}

    @pytest.mark.parametrize("key", ["a b/c", "a.b-c_d:e", "Drucker/Büro", "\U0001f5a8", "é" * (MAX_KEY_BYTES // 2)])
    def test_any_printable_text_is_a_part(self, registry: Registry, key: str) -> None:
        registry.put(key, "1")
        assert registry.get(key) == "1"
        assert registry.subtree("") == {key: "1"}

    def test_a_slash_before_a_key_means_nothing(self, registry: Registry) -> None:
        registry.put("/a/b", "1")
        registry.put_all({"/a/c": "2"})
        assert registry.get("a/b") == registry.get("/a/b") == "1"
        assert registry.subtree("/a") == registry.subtree("/") == {"a/b": "1", "a/c": "2"}
        assert registry.children("/a") == ["b", "c"]
        assert registry.delete("/a/b")
        assert registry.delete_subtree("/a") == 1

    def test_only_if_absent_puts_what_is_new_and_changes_nothing_else(self, registry: Registry) -> None:
        assert registry.put("a", "1", only_if_absent=True)
        assert not registry.put("a", "2", only_if_absent=True)
        assert registry.get("a") == "1"
        registry.delete("a")
        assert registry.put("a", "3", only_if_absent=True)

    def test_put_all_puts_all_or_with_only_if_absent_none(self, registry: Registry) -> None:
        assert registry.put_all({"a": "1", "b": "1"}, only_if_absent=True)
        assert not registry.put_all({"b": "2", "c": "2"}, only_if_absent=True)
        assert registry.subtree("") == {"a": "1", "b": "1"}
        assert registry.put_all({"b": "3", "c": "3"})
        assert registry.subtree("") == {"a": "1", "b": "3", "c": "3"}

    def test_as_many_as_may_be_are_put_at_once(self, registry: Registry) -> None:
        values = {f"a/{number:03}": str(number) for number in range(MAX_AT_ONCE)}
        assert registry.put_all(values, only_if_absent=True)
        assert registry.subtree("a") == values

    def test_one_of_many_that_put_an_absent_key_wins(self, registry: Registry, another: Registry) -> None:
        def claim(who: int) -> bool:
            return (registry, another)[who % 2].put("leader", str(who), only_if_absent=True)

        for _ in range(10):
            won = at_once([partial(claim, who) for who in range(8)])
            assert won.count(True) == 1
            assert registry.get("leader") == str(won.index(True))
            registry.delete("leader")

    def test_one_of_many_that_put_an_absent_set_wins_whole(self, registry: Registry, another: Registry) -> None:
        def claim(who: int) -> bool:
            values = {f"own/{who}": "1", "leader": str(who)}
            return (registry, another)[who % 2].put_all(values, only_if_absent=True)

        for _ in range(10):
            won = at_once([partial(claim, who) for who in range(8)])
            assert won.count(True) == 1
            winner = won.index(True)
            assert registry.subtree("") == {"leader": str(winner), f"own/{winner}": "1"}
            registry.delete_subtree("")

    def test_who_reads_sees_all_or_nothing_of_what_is_put_at_once(self, registry: Registry, another: Registry) -> None:
        seen: list[dict[str, str]] = []
        over = threading.Event()

        def write() -> None:
            try:
                for number in range(50):
                    another.put_all({f"a/{part}": str(number) for part in "xyz"})
                    if number % 5 == 4:
                        another.delete_subtree("a")
            finally:
                over.set()

        def read() -> None:
            while not over.is_set():
                seen.append(registry.subtree("a"))

        at_once([write, read])
        assert [there for there in seen if len(there) not in (0, 3) or len(set(there.values())) > 1] == []

    # --- the tree ---

    def test_a_subtree_is_a_key_and_what_is_beneath_it_but_no_key_that_only_begins_so(self, registry: Registry) -> None:
        beneath = {"a/b": "1", "a/b/c": "2", "a/b/c/d": "3"}
        others = {key: "0" for key in ("a", "a/bc", "a/b-c", "a/b0", "a/b c", "a/B", "b", "x/a/b")}
        registry.put_all(beneath | others)
        assert registry.subtree("a/b") == beneath
        assert registry.subtree("a/b/c/d") == {"a/b/c/d": "3"}
        assert registry.subtree("a/x") == {}
        assert registry.subtree("") == beneath | others
        assert registry.delete_subtree("a/b") == 3
        assert registry.subtree("") == others

    def test_a_subtree_need_not_have_a_key_at_its_top(self, registry: Registry) -> None:
        registry.put("a/b/c", "1")
        assert registry.get("a/b") is None
        assert registry.subtree("a/b") == {"a/b/c": "1"}
        assert not registry.delete("a/b")
        assert registry.delete_subtree("a/b") == 1

    def test_a_subtree_is_in_the_plain_text_order_of_its_keys(self, registry: Registry) -> None:
        keys = ["a", "a b", "a-b", "a.b", "a/b", "a0", "ab", "b", "ä", "\uffee", "\U0001f5a8"]
        for key in random.Random(1).sample(keys, len(keys)):
            registry.put(key, "1")
        assert list(registry.subtree("")) == keys

    def test_or_in_that_of_their_creation_which_another_put_does_not_change(self, registry: Registry) -> None:
        for key in ("a/3", "a/1", "b/5", "a/2", "a"):
            registry.put(key, "old")
        registry.put("a/3", "new")
        assert list(registry.subtree("a", by_creation=True).items()) == [
            ("a/3", "new"), ("a/1", "old"), ("a/2", "old"), ("a", "old"),
        ]  # fmt: skip
        assert list(registry.subtree("", by_creation=True)) == ["a/3", "a/1", "b/5", "a/2", "a"]

    def test_a_key_that_was_deleted_and_is_put_again_is_new(self, registry: Registry) -> None:
        for key in ("1", "2", "3"):
            registry.put(key, "")
        registry.delete("1")
        registry.put("1", "")
        assert list(registry.subtree("", by_creation=True)) == ["2", "3", "1"]

    def test_keys_that_were_created_at_once_are_in_the_order_of_the_keys(self, registry: Registry) -> None:
        registry.put("b", "")
        registry.put_all({"d": "", "a": "", "b": "", "c": ""})
        assert list(registry.subtree("", by_creation=True)) == ["b", "a", "c", "d"]

    def test_children_are_the_names_directly_beneath(self, registry: Registry) -> None:
        registry.put_all({key: "1" for key in ("a", "a/c", "a/b/x/y", "a/b/x", "a b/q", "ab/q", "c/d")})
        assert registry.children("") == ["a", "a b", "ab", "c"]
        assert registry.children("a") == ["b", "c"]
        assert registry.children("a/b") == ["x"]
        assert registry.children("a/c") == registry.children("x") == []

    def test_delete_leaves_what_is_beneath(self, registry: Registry) -> None:
        registry.put_all({"a": "1", "a/b": "2"})
        assert registry.delete("a")
        assert registry.subtree("") == {"a/b": "2"}

    def test_delete_subtree_says_how_many_there_were_and_the_top_is_everything(self, registry: Registry) -> None:
        for first in range(0, 1000, MAX_AT_ONCE):
            registry.put_all({f"a/{number}": "1" for number in range(first, first + MAX_AT_ONCE)})
        registry.put("b", "1")
        assert registry.delete_subtree("a") == 1000
        assert registry.delete_subtree("a") == 0
        assert registry.subtree("") == {"b": "1"}
        assert registry.delete_subtree("") == 1

    def test_each_key_is_deleted_by_one_of_many(self, registry: Registry, another: Registry) -> None:
        registry.put_all({f"a/{number}": "1" for number in range(MAX_AT_ONCE)})
        deletes = [partial((registry, another)[who % 2].delete_subtree, "a") for who in range(8)]
        assert sum(at_once(deletes)) == MAX_AT_ONCE

    def test_it_does_what_a_dict_would(self, registry: Registry) -> None:
        class ThisRegistryAndModel(RegistryAndModel):
            def __init__(self) -> None:
                super().__init__(registry)

        run_state_machine_as_test(ThisRegistryAndModel, settings=QUICK)

    # --- leases ---

    def test_what_is_put_under_a_lease_vanishes_when_it_ends(self, registry: Registry, another: Registry) -> None:
        with registry.lease(TTL_S) as lease:
            assert lease.id
            assert lease.ttl_s >= TTL_S
            registry.put("a", "1", lease=lease)
            registry.put_all({"b/c": "2", "b/d": "3"}, lease=lease)
            registry.put("e", "4")
            assert another.subtree("") == {"a": "1", "b/c": "2", "b/d": "3", "e": "4"}
        assert another.subtree("") == {"e": "4"}

    def test_a_lease_that_has_ended_is_no_use_and_ends_only_once(self, registry: Registry) -> None:
        lease = registry.lease(TTL_S)
        assert lease.renew()
        lease.end()
        registry.put("a", "1")
        lease.end()
        assert not lease.renew()
        with pytest.raises(RegistryError):
            registry.put("a", "2", lease=lease)
        with pytest.raises(RegistryError):
            registry.put_all({"b": "2", "c": "2"}, lease=lease)
        assert registry.subtree("") == {"a": "1"}

    def test_a_lease_that_is_not_kept_alive_ends_by_itself_and_not_before_its_time(self, registry: Registry) -> None:
        start = time.monotonic()
        lease = registry.lease(TTL_S, keep_alive=False)
        registry.put("a", "1", lease=lease)
        wait_until(lambda: registry.get("a") is None, "the end of the lease")
        assert time.monotonic() - start >= TTL_S
        assert not lease.renew()
        with pytest.raises(RegistryError):
            registry.put("a", "2", lease=lease)

    def test_one_that_is_renewed_outlives_one_that_is_not(self, registry: Registry) -> None:
        renewed = registry.lease(2 * TTL_S, keep_alive=False)
        left = registry.lease(2 * TTL_S, keep_alive=False)
        registry.put("renewed", "1", lease=renewed)
        registry.put("left", "1", lease=left)
        wait_until(lambda: not renewed.renew() or registry.get("left") is None, "the end of the one that is left")
        assert registry.subtree("") == {"renewed": "1"}

    def test_one_that_is_kept_alive_outlives_one_that_is_not(self, registry: Registry) -> None:
        kept = registry.lease(TTL_S)
        registry.put("kept", "1", lease=kept)
        for _ in range(2):
            registry.put("left", "1", lease=registry.lease(TTL_S, keep_alive=False))
            wait_until(lambda: registry.get("left") is None, "the end of the one that is left")
        wait_until(lambda: registry.get("kept") == "1", "what is kept")
        assert kept.renew()
        kept.end()
        assert registry.subtree("") == {}

    def test_a_key_that_is_put_again_moves_to_the_other_lease_or_to_none(self, registry: Registry) -> None:
        first, second = registry.lease(TTL_S), registry.lease(TTL_S)
        registry.put_all({"moves": "1", "loses": "1", "stays": "1"}, lease=first)
        registry.put("moves", "2", lease=second)
        registry.put("loses", "2")
        first.end()
        assert registry.subtree("") == {"moves": "2", "loses": "2"}
        second.end()
        assert registry.subtree("") == {"loses": "2"}

    def test_a_key_that_was_deleted_and_put_again_is_not_under_its_old_lease(self, registry: Registry) -> None:
        lease = registry.lease(TTL_S)
        registry.put("a", "1", lease=lease)
        registry.delete("a")
        registry.put("a", "2")
        lease.end()
        assert registry.get("a") == "2"

    def test_a_put_that_changes_nothing_does_not_move_a_key(self, registry: Registry) -> None:
        registry.put("a", "1")
        with registry.lease(TTL_S) as lease:
            assert not registry.put("a", "2", lease=lease, only_if_absent=True)
        assert registry.get("a") == "1"

    @pytest.mark.parametrize("ttl_s", [1.9, 1, 0, -5, math.nan, math.inf, "10", None])
    def test_a_lease_of_no_time_or_less_than_the_shortest_is_refused(self, registry: Registry, ttl_s: Any) -> None:
        with pytest.raises(RegistryKeyError):
            registry.lease(ttl_s)

    def test_a_lease_of_another_registry_is_refused(self, registry: Registry) -> None:
        with MemoryRegistry() as other, other.lease(TTL_S) as lease:
            with pytest.raises(RegistryError):
                registry.put("a", "1", lease=lease)
            with pytest.raises(RegistryError):
                registry.put_all({"a": "1"}, lease=lease)
        assert registry.subtree("") == {}

    # --- what no registry can hold, and one that is closed ---

    @pytest.mark.parametrize("call", ON_A_KEY)
    def test_what_is_no_key_is_refused_and_nothing_is_changed(self, registry: Registry, call: str) -> None:
        registry.put("a/b", "1")
        assert not_refused(registry, ON_A_KEY[call], [*EMPTY_KEYS, *BAD_KEYS, *NO_TEXT]) == []
        assert registry.subtree("") == {"a/b": "1"}

    def test_more_values_at_once_than_any_store_takes_are_refused_and_none_is_put(self, registry: Registry) -> None:
        with pytest.raises(RegistryKeyError, match="put fewer"):
            registry.put_all({str(number): "x" * MAX_VALUE_BYTES for number in range(3)})
        assert registry.subtree("") == {}

    @pytest.mark.parametrize("call", ON_A_KEY_OR_THE_TOP)
    def test_what_is_neither_key_nor_top_is_refused_and_nothing_is_changed(self, registry: Registry, call: str) -> None:
        registry.put("a/b", "1")
        assert not_refused(registry, ON_A_KEY_OR_THE_TOP[call], [*BAD_KEYS, *NO_TEXT]) == []
        assert registry.subtree("") == {"a/b": "1"}

    def test_what_is_no_value_is_refused_and_nothing_is_changed(self, registry: Registry) -> None:
        registry.put("a", "1")
        assert not_refused(registry, lambda registry, value: registry.put("a", value), BAD_VALUES) == []

        def put_several(registry: Registry, value: Any) -> bool:
            return registry.put_all({"new": "1", "a": value, "newer": "1"})

        assert not_refused(registry, put_several, BAD_VALUES) == []
        assert registry.subtree("") == {"a": "1"}

    def test_none_too_many_and_the_same_key_twice_are_refused_at_once(self, registry: Registry) -> None:
        too_many = {str(number): "1" for number in range(MAX_AT_ONCE + 1)}
        twice = {"a": "1", "/a": "2"}
        assert not_refused(registry, lambda registry, values: registry.put_all(values), [{}, too_many, twice]) == []
        assert registry.subtree("") == {}

    @pytest.mark.parametrize("call", [*ON_A_KEY, *ON_A_KEY_OR_THE_TOP])
    def test_a_registry_that_is_closed_refuses_every_call(self, registry: Registry, call: str) -> None:
        with registry:
            registry.put("a", "1")
        registry.close()
        with pytest.raises(RegistryError):
            (ON_A_KEY | ON_A_KEY_OR_THE_TOP)[call](registry, "a")
        with pytest.raises(RegistryError):
            registry.lease(TTL_S)

    def test_what_a_registry_kept_running_has_ended_when_it_is_closed(self, registry: Registry) -> None:
        lease, following, watch = registry.lease(TTL_S), registry.follow("a", lambda _: None), registry.watch("a")
        registry.close()
        assert not lease.renew()
        lease.end()
        following.close()
        watch.close()
        assert list(watch) == []


class SharedRegistryContract(RegistryContract):
    """Of a store that several programs share: `another` is not the same object."""

    def test_who_closes_takes_along_what_it_keeps_alive_and_nothing_else(
        self, registry: Registry, another: Registry
    ) -> None:
        another.put("kept", "1", lease=another.lease(30))
        another.put("with its own end", "1", lease=another.lease(30, keep_alive=False))
        another.put("without end", "1")
        heard = Heard()
        with registry.follow("", heard.append):
            another.close()
            heard.until(gone("kept"))
        assert registry.subtree("") == {"with its own end": "1", "without end": "1"}

    def test_who_is_closed_hears_no_more(self, registry: Registry, another: Registry) -> None:
        closed, heard = Heard(), Heard()
        another.follow("a", closed.append)
        another.close()
        with registry.follow("a", heard.append):
            registry.put("a", "1")
            heard.until(put("a", "1"))
        assert closed == []
