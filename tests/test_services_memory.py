"""The registry in memory keeps what every registry promises, and what it promises of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from nwdisco.errors import RegistryError
from nwdisco.services.memory import FEW_KEYS, MemoryRegistry
from nwdisco.services.registry import Change, Registry
from tests.machines import DEADLINE_S, wait_until
from tests.registry_contract import RegistryContract
from tests.registry_tools import TTL_S, Heard, gone, put


class TestMemoryRegistry(RegistryContract):
    @pytest.fixture
    def registry(self) -> Iterator[Registry]:
        with MemoryRegistry() as registry:
            yield registry

    @pytest.fixture
    def another(self, registry: Registry) -> Registry:
        return registry


@pytest.fixture
def new_threads() -> Callable[[], list[str]]:
    """The names of the threads that have begun since, and run."""
    before = set(threading.enumerate())
    return lambda: sorted(thread.name for thread in threading.enumerate() if thread not in before)


def test_each_is_a_store_of_its_own_with_leases_of_its_own() -> None:
    with MemoryRegistry() as one, MemoryRegistry() as other:
        one.put("a", "1")
        assert other.get("a") is None
        with pytest.raises(RegistryError, match="another registry's"):
            one.put("a", "2", lease=other.lease(TTL_S))
        assert one.get("a") == "1"


def test_close_leaves_no_thread(new_threads: Callable[[], list[str]]) -> None:
    with MemoryRegistry() as registry:
        registry.lease(1000, keep_alive=False)
        registry.follow("a", lambda _: None)
        registry.watch("b")
        assert new_threads() == ["nwdisco: follows a", "nwdisco: follows b", "nwdisco: leases"]
    wait_until(lambda: not new_threads(), "the end of the threads")


def test_a_lease_that_is_kept_alive_needs_no_thread_and_a_following_ends_its_own(
    new_threads: Callable[[], list[str]],
) -> None:
    with MemoryRegistry() as registry:
        registry.lease(TTL_S)
        assert new_threads() == []
        registry.follow("a", lambda _: None).close()
        wait_until(lambda: not new_threads(), "the end of the thread")


def test_a_program_ends_although_it_closes_nothing() -> None:
    program = """
from nwdisco.services.memory import MemoryRegistry
registry = MemoryRegistry()
registry.lease(1000, keep_alive=False)
registry.watch("a")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_leases_end_in_the_order_of_their_dates_and_one_thread_ends_them(new_threads: Callable[[], list[str]]) -> None:
    heard = Heard()
    with MemoryRegistry() as registry, registry.follow("", heard.append):
        leases = [registry.lease(ttl_s, keep_alive=False) for ttl_s in (1e300, 2.3, 2.1, 2.2, 2)]
        for lease in leases:
            registry.put(lease.id, "1", lease=lease)
        assert new_threads().count("nwdisco: leases") == 1
        *in_order, last = sorted(leases, key=lambda lease: lease.ends_at)
        heard.until(*(gone(lease.id) for lease in in_order))
        assert heard[-4:] == [gone(lease.id) for lease in in_order]
        assert registry.children("") == [last.id]


def test_who_takes_long_over_a_change_keeps_nobody_else_waiting() -> None:
    heard = Heard()
    go_on = threading.Event()
    slow: list[Change] = []

    def take_long(change: Change) -> None:
        go_on.wait(DEADLINE_S)
        slow.append(change)

    with MemoryRegistry() as registry:
        registry.follow("a", take_long)
        registry.follow("a", heard.append)
        registry.put("a", "1", lease=registry.lease(TTL_S, keep_alive=False))
        heard.until(gone("a"))
        assert slow == []
        go_on.set()
        wait_until(lambda: slow == [put("a", "1"), gone("a")], "the slow one")


def test_close_does_not_wait_for_a_callback_and_none_is_called_after_it(new_threads: Callable[[], list[str]]) -> None:
    under_way, go_on = threading.Event(), threading.Event()
    heard = Heard()

    def take_long(change: Change) -> None:
        heard.append(change)
        under_way.set()
        go_on.wait(DEADLINE_S)

    registry = MemoryRegistry()
    registry.follow("a", take_long)
    registry.put("a", "1")
    registry.put("a", "2")
    assert under_way.wait(DEADLINE_S)
    registry.close()
    go_on.set()
    wait_until(lambda: not new_threads(), "the end of the thread")
    assert heard == [put("a", "1")]


def test_a_callback_may_close_the_registry_while_it_hears_what_is_there(new_threads: Callable[[], list[str]]) -> None:
    heard = Heard()
    registry = MemoryRegistry()
    registry.put_all({"a/1": "1", "a/2": "1"})

    def on_change(change: Change) -> None:
        heard.append(change)
        registry.close()

    registry.follow("a", on_change).close()
    assert heard == [put("a/1", "1")]
    wait_until(lambda: not new_threads(), "the end of the thread")


def test_ctrl_c_while_what_is_there_is_told_ends_the_following(new_threads: Callable[[], list[str]]) -> None:
    heard = Heard()

    def on_change(change: Change) -> None:
        heard.append(change)
        raise KeyboardInterrupt

    with MemoryRegistry() as registry:
        registry.put_all({"a/1": "1", "a/2": "1"})
        with pytest.raises(KeyboardInterrupt):
            registry.follow("a", on_change)
        registry.put("a/3", "1")
        assert new_threads() == []
    assert heard == [put("a/1", "1")]


def test_nobody_who_asks_after_the_end_of_a_lease_still_finds_its_keys() -> None:
    with MemoryRegistry() as registry:
        lease = registry.lease(TTL_S, keep_alive=False)
        ended_at = time.monotonic() + TTL_S
        registry.put("a", "1", lease=lease)
        with registry._lock:  # the thread that ends leases cannot go on meanwhile
            wait_until(lambda: time.monotonic() >= ended_at, "the end of the lease")
            assert registry.get("a") is None
            assert not lease.renew()


def test_a_lease_with_an_earlier_date_does_not_wait_for_one_with_a_later() -> None:
    heard = Heard()
    with MemoryRegistry() as registry, registry.follow("", heard.append):
        registry.lease(1000, keep_alive=False)
        for key in ("a", "b"):  # at b, its thread is waiting for the later date: it was, when a was told
            registry.put(key, "1", lease=registry.lease(TTL_S, keep_alive=False))
            heard.until(gone(key))


@pytest.mark.parametrize("number", [FEW_KEYS - 1, FEW_KEYS, FEW_KEYS + 1])
def test_few_or_many_deleted_together_leave_the_others_in_order(number: int) -> None:
    with MemoryRegistry() as registry:
        lease = registry.lease(TTL_S)
        for key in range(2 * number):
            registry.put(f"a/{key:05}", "1", lease=lease if key % 2 else None)
        lease.end()
        assert list(registry.subtree("a")) == [f"a/{key:05}" for key in range(0, 2 * number, 2)]
        assert registry.delete_subtree("a") == number
        assert registry.subtree("") == {}
