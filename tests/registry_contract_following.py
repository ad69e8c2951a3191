"""What every store promises who follows it, as tests; a part of RegistryContract."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from functools import partial

import pytest

from nwdisco.services.registry import Change, Following, Registry
from tests.machines import DEADLINE_S, wait_until
from tests.registry_tools import TTL_S, Heard, at_once, gone, put, tells


class FollowingContract:
    # --- following ---

    def test_who_follows_has_heard_of_all_that_is_there_when_follow_returns(self, registry: Registry) -> None:
        registry.put_all({"a": "1", "a/b": "2", "a/c/d": "3", "ab": "4", "x": "5"})
        heard = Heard()
        with registry.follow("a", heard.append):
            assert set(heard) == {put("a", "1"), put("a/b", "2"), put("a/c/d", "3")}
            assert len(heard) == 3

    def test_without_a_function_to_call_nobody_follows(self, registry: Registry) -> None:
        with pytest.raises(ValueError, match="on_change is None: give a function"):
            registry.follow("a", None)  # type: ignore[arg-type]

    def test_then_hears_of_each_change_once_and_in_order(self, registry: Registry, another: Registry) -> None:
        heard = Heard()
        with registry.follow("a", heard.append):
            assert heard == []
            another.put("a/x", "1")
            registry.put("a/x", "2")
            registry.put("a/x", "2")
            registry.put("a", "3")
            another.delete("a/x")
            registry.put("a/x", "4", only_if_absent=True)
            registry.put("a/x", "5", only_if_absent=True)
            registry.delete("a/none")
            registry.put_all({"a/y": "6", "a/z": "7"})
            heard.until(put("a/y", "6"), put("a/z", "7"))
            registry.delete_subtree("a")
            heard.until(gone("a"), gone("a/x"), gone("a/y"), gone("a/z"))
        singly = [put("a/x", "1"), put("a/x", "2"), put("a/x", "2"), put("a", "3"), gone("a/x"), put("a/x", "4")]
        assert heard[:6] == singly
        assert len(heard) == 6 + 2 + 4

    def test_changes_elsewhere_are_not_told(self, registry: Registry) -> None:
        heard, everything = Heard(), Heard()
        elsewhere = ["a", "a/bc", "a/b-c", "a/b0", "a/B", "b", "x/a/b"]
        with registry.follow("/a/b", heard.append), registry.follow("", everything.append):
            for key in elsewhere:
                registry.put(key, "1")
            registry.delete("a/bc")
            registry.put("a/b/c", "1")
            heard.until(put("a/b/c", "1"))
            everything.until(put("a/b/c", "1"))
        assert heard == [put("a/b/c", "1")]
        assert everything == [*(put(key, "1") for key in elsewhere), gone("a/bc"), put("a/b/c", "1")]

    def test_the_end_of_a_lease_deletes_and_that_is_told(self, registry: Registry) -> None:
        heard = Heard()
        with registry.follow("", heard.append):
            with registry.lease(TTL_S) as ended:
                registry.put_all({"a": "1", "b": "1"}, lease=ended)
            heard.until(gone("a"), gone("b"))
            registry.put("c", "1", lease=registry.lease(TTL_S, keep_alive=False))
            heard.until(gone("c"))
        assert len(heard) == 6

    def test_changes_come_from_a_thread_of_the_registry(self, registry: Registry) -> None:
        threads: list[int] = []
        with registry.follow("a", lambda _: threads.append(threading.get_ident())):
            registry.put("a", "1")
            wait_until(lambda: threads, "the change")
        assert threads != [threading.get_ident()]

    def test_who_has_closed_hears_no_more(self, registry: Registry) -> None:
        closed, open_ = Heard(), Heard()
        following = registry.follow("a", closed.append)
        with registry.follow("a", open_.append):
            registry.put("a", "1")
            closed.until(put("a", "1"))
            following.close()
            following.close()
            registry.put("a", "2")
            open_.until(put("a", "2"))
        assert closed == [put("a", "1")]

    def test_a_callback_may_call_the_registry_follow_more_and_close_what_it_follows(self, registry: Registry) -> None:
        inner, outer = Heard(), Heard()
        own: list[Following] = []
        more: list[Following] = []

        def on_change(change: Change) -> None:
            outer.append(change)
            if change.value == "2":
                own[0].close()
            registry.put(change.key.replace("in", "out", 1), str(registry.get(change.key)))
            more.append(registry.follow(change.key, inner.append))

        registry.put("in/0", "1")
        own.append(registry.follow("in", on_change))
        assert registry.get("out/0") == "1"
        registry.put("in/1", "1")
        wait_until(lambda: registry.get("out/1") == "1", "what the callback puts")
        registry.put("in/2", "2")
        wait_until(lambda: len(more) == 3, "what the callback follows")
        registry.put("in/1", "3")
        inner.until(put("in/1", "3"))
        assert outer == [put("in/0", "1"), put("in/1", "1"), put("in/2", "2")]
        for following in more:
            following.close()

    def test_a_callback_that_raises_is_logged_and_called_again(
        self, registry: Registry, caplog: pytest.LogCaptureFixture
    ) -> None:
        heard = Heard()

        def on_change(change: Change) -> None:
            heard.append(change)
            raise RuntimeError(f"no room for {change.key}")

        registry.put("a/0", "1")
        with registry.follow("a", on_change):
            for number in (1, 2):
                registry.put(f"a/{number}", "1")
            heard.until(put("a/2", "1"))
            wait_until(lambda: "no room for a/2" in caplog.text, "the log of the last")
        assert heard == [put("a/0", "1"), put("a/1", "1"), put("a/2", "1")]
        assert all(f"no room for a/{number}" in caplog.text for number in range(3))
        assert {record.name for record in caplog.records} == {"nwdisco"}

    def test_who_begins_to_follow_busy_writers_misses_nothing_and_hears_nothing_twice(
        self, registry: Registry, another: Registry
    ) -> None:
        writers = 4
        happened: list[list[Change]] = [[] for _ in range(writers)]
        all_heard = [Heard() for _ in range(10)]
        followings: list[Following] = []

        def write(who: int) -> None:
            chance = random.Random(who)
            there: set[str] = set()
            for number in range(150):
                key = f"busy/{who}/{chance.randrange(5)}"
                if key in there and chance.random() < 0.3:
                    (registry, another)[who % 2].delete(key)
                    there.remove(key)
                    happened[who].append(gone(key))
                else:
                    (registry, another)[who % 2].put(key, str(number))
                    there.add(key)
                    happened[who].append(put(key, str(number)))

        def follow() -> None:
            for heard in all_heard:
                followings.append(registry.follow("busy", heard.append))

        jobs: list[Callable[[], None]] = [*(partial(write, who) for who in range(writers)), follow]
        at_once(jobs)
        registry.put("busy/end", "1")
        for heard in all_heard:
            assert heard.until(put("busy/end", "1")).state() == registry.subtree("busy")
            for who in range(writers):
                assert tells([change for change in heard if change.key.startswith(f"busy/{who}/")], happened[who])
        for following in followings:
            following.close()

    # --- watching ---

    def test_a_watch_gives_what_is_there_and_then_the_changes(self, registry: Registry) -> None:
        registry.put("a/b", "1")
        with registry.watch("a") as watch:
            registry.put("a/b", "2")
            registry.put("b", "3")
            registry.delete("a/b")
            changes = [watch.next(DEADLINE_S) for _ in range(3)]
            assert changes == [put("a/b", "1"), put("a/b", "2"), gone("a/b")]
            assert watch.next(0.01) is None
        assert watch.next() is None
        assert list(watch) == []

    def test_iterating_over_a_watch_ends_for_all_who_do_when_its_registry_is_closed(self, registry: Registry) -> None:
        watch = registry.watch("a")
        at_once([lambda: list(watch), lambda: list(watch), registry.close])
        assert watch.next() is None

    @pytest.mark.parametrize("wait_s", [-1, float("nan"), "5"])
    def test_a_time_to_wait_that_is_none_is_an_error(self, registry: Registry, wait_s: object) -> None:
        with registry.watch("a") as watch, pytest.raises(ValueError, match="wait_for_s"):
            watch.next(wait_s)  # type: ignore[arg-type]

    def test_iterating_over_a_watch_ends_when_another_thread_closes_it(self, registry: Registry) -> None:
        registry.put("a", "1")
        seen: list[Change] = []
        watch = registry.watch("a")

        def iterate() -> None:
            for change in watch:
                seen.append(change)

        def close() -> None:
            try:
                registry.put("a", "2")
                wait_until(lambda: len(seen) == 2, "the changes")
            finally:
                watch.close()
                watch.close()

        at_once([iterate, close])
        assert seen == [put("a", "1"), put("a", "2")]
