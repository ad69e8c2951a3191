"""The registry in etcd when etcd is killed, paused, compacted, cut off, or loses its data: all is registered again, and who
follows hears what differs, once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from nwdisco.errors import RegistryError, RegistryUnavailableError
from nwdisco.services.etcd import EtcdRegistry
from nwdisco.services.registry import Registry
from tests.etcd import Etcd, Record, missing_etcd, soon
from tests.machines import DEADLINE_S, wait_until
from tests.registry_tools import TTL_S, Heard, gone, put

pytestmark = pytest.mark.skipif(missing_etcd() is not None, reason=str(missing_etcd()))

SHORT_S = 1.0
"""The time of a call that is to fail."""


@pytest.fixture
def registry(etcd: Etcd) -> Iterator[EtcdRegistry]:
    with EtcdRegistry(etcd.address, prefix="/", timeout_s=SHORT_S) as registry:
        yield registry


@pytest.fixture
def watcher(etcd: Etcd) -> Iterator[EtcdRegistry]:
    """Another one, which only follows."""
    with EtcdRegistry(etcd.address, prefix="/") as watcher:
        yield watcher


def patient(registry: Registry, key: str) -> dict[str, str]:
    """What is beneath a key, as soon as etcd says."""
    found: list[dict[str, str]] = []

    def reads() -> bool:
        try:
            found.append(registry.subtree(key))
        except RegistryUnavailableError:
            return False
        return True

    wait_until(reads, "etcd says what is there")
    return found[0]


def put_at_last(registry: Registry, key: str, value: str) -> None:
    """Put, as soon as etcd takes it."""

    def puts() -> bool:
        try:
            return registry.put(key, value)
        except RegistryUnavailableError:
            return False

    wait_until(puts, f"etcd takes {key}")


def lease_number(etcd: Etcd, key: str) -> int:
    found = json.loads(etcd.ctl("get", "/" + key, "--write-out=json")).get("kvs", [{}])
    number: int = found[0].get("lease", 0)
    return number


# --- etcd ends and comes back ---


def test_killed_and_started_again_etcd_has_everything_and_who_follows_hears_nothing_twice(
    etcd: Etcd, registry: EtcdRegistry, watcher: EtcdRegistry, record_property: Record
) -> None:
    registry.put_all({"a/1": "1", "a/2": "1"}, lease=registry.lease(TTL_S))
    registry.put("a/3", "1")
    heard = Heard()
    with watcher.follow("a", heard.append):
        etcd.kill()
        with pytest.raises(RegistryUnavailableError):
            registry.get("a/1")
        etcd.start()
        put_at_last(registry, "a/3", "2")
        soon(record_property, "heard after the restart", lambda: put("a/3", "2") in heard)
        assert heard.state() == patient(watcher, "a") == {"a/1": "1", "a/2": "1", "a/3": "2"}
    assert heard[:3] == [put("a/1", "1"), put("a/2", "1"), put("a/3", "1")]
    assert set(heard[3:]) == {put("a/3", "2")}


def test_a_lease_lives_on_after_etcd_was_killed_and_started_again(
    etcd: Etcd, registry: EtcdRegistry, record_property: Record
) -> None:
    lease = registry.lease(TTL_S)
    registry.put("a", "1", lease=lease)
    etcd.kill()
    etcd.start()
    with EtcdRegistry(etcd.address) as other:
        other.put("marker", "1", lease=other.lease(2 * TTL_S, keep_alive=False))
        soon(record_property, "a lease that nobody renews ended", lambda: other.get("marker") is None)
    wait_until(lambda: patient(registry, "a") == {"a": "1"}, "it stands")
    assert lease.renew()
    lease.end()
    assert registry.get("a") is None


def test_etcd_that_lost_its_data_gets_back_what_is_under_leases_and_who_follows_hears_what_is_gone(
    etcd: Etcd, registry: EtcdRegistry, watcher: EtcdRegistry, record_property: Record
) -> None:
    first = registry.lease(TTL_S)
    values = {f"kept/{number:03}": str(number) for number in range(150)}
    for key, value in values.items():
        registry.put(key, value, lease=first)
    registry.put("lost", "1")
    heard = Heard()
    with watcher.follow("", heard.append):
        etcd.kill()
        etcd.forget_everything()
        etcd.start()
        soon(record_property, "put again", lambda: patient(watcher, "kept") == values)
        soon(record_property, "followed", lambda: gone("lost") in heard and heard.state() == values)
    assert heard.count(gone("lost")) == 1
    assert lease_number(etcd, "kept/007") == int(first.id)
    first.end()
    assert watcher.subtree("") == {}


def test_values_of_more_bytes_than_one_request_may_have_are_put_again_too(etcd: Etcd, registry: EtcdRegistry) -> None:
    lease = registry.lease(TTL_S)
    values = {f"a/{number}": str(number) * 400_000 for number in range(6)}
    for key, value in values.items():
        registry.put(key, value, lease=lease)
    etcd.ctl("lease", "revoke", f"{int(lease.id):x}")
    wait_until(lambda: registry.subtree("a") == values, "all six")


# --- etcd stands still ---


def test_paused_for_longer_than_a_lease_etcd_gets_everything_back(
    etcd: Etcd, registry: EtcdRegistry, watcher: EtcdRegistry, record_property: Record
) -> None:
    lease = registry.lease(TTL_S)
    registry.put_all({"a/1": "1", "a/2": "1"}, lease=lease)
    watcher.put("b", "1", lease=watcher.lease(TTL_S, keep_alive=False))
    heard = Heard()
    with watcher.follow("", heard.append):
        etcd.pause()
        start = time.monotonic()
        wait_until(lambda: time.monotonic() - start > 2 * TTL_S, "etcd stands still for longer than the lease")
        etcd.resume()
        soon(record_property, "what nobody renewed ended", lambda: gone("b") in heard)
        put_at_last(registry, "a/end", "1")
        both = {"a/1": "1", "a/2": "1", "a/end": "1"}
        soon(record_property, "in step", lambda: heard.state() == patient(watcher, "") == both)
    assert lease.renew()
    assert lease_number(etcd, "a/1") == int(lease.id)


def test_a_call_while_etcd_stands_still_fails_in_time_and_the_next_ones_work(
    etcd: Etcd, registry: EtcdRegistry
) -> None:
    registry.put("a", "1")
    etcd.pause()
    for _ in range(2):
        with pytest.raises(RegistryUnavailableError, match="is it running"):
            registry.get("a")
    etcd.resume()
    assert patient(registry, "a") == {"a": "1"}


def test_close_does_not_wait_for_an_etcd_that_stands_still(etcd: Etcd, caplog: pytest.LogCaptureFixture) -> None:
    registry = EtcdRegistry(etcd.address)
    registry.put("a", "1", lease=registry.lease(TTL_S))
    etcd.pause()
    registry.close()
    assert "ends with its leases" in caplog.text
    etcd.resume()
    with EtcdRegistry(etcd.address) as other:
        wait_until(lambda: other.get("a") is None, "the end of the lease")


# --- leases that are lost ---


def test_a_lease_that_was_revoked_by_hand_is_had_again_under_the_same_id(
    etcd: Etcd, registry: EtcdRegistry, watcher: EtcdRegistry, record_property: Record
) -> None:
    lease = registry.lease(TTL_S)
    registry.put_all({"a/1": "1", "a/2": "1"}, lease=lease)
    heard = Heard()
    with watcher.follow("a", heard.append):
        etcd.ctl("lease", "revoke", f"{int(lease.id):x}")
        soon(record_property, "put again", lambda: len(heard) == 6)
    assert set(heard[2:4]) == {gone("a/1"), gone("a/2")}
    assert set(heard[4:]) == {put("a/1", "1"), put("a/2", "1")}
    assert lease_number(etcd, "a/1") == int(lease.id)


def test_a_put_under_a_kept_lease_that_was_lost_meanwhile_works(etcd: Etcd, registry: EtcdRegistry) -> None:
    lease = registry.lease(60)
    registry.put("a/1", "1", lease=lease)
    etcd.ctl("lease", "revoke", f"{int(lease.id):x}")
    assert registry.put("a/2", "2", lease=lease)
    assert registry.subtree("a") == {"a/1": "1", "a/2": "2"}
    etcd.ctl("lease", "revoke", f"{int(lease.id):x}")
    assert lease.renew()
    assert registry.subtree("a") == {"a/1": "1", "a/2": "2"}
    lease.end()
    assert registry.subtree("a") == {}


def test_a_put_under_a_lease_that_is_not_kept_and_was_lost_says_so(etcd: Etcd, registry: EtcdRegistry) -> None:
    lease = registry.lease(60, keep_alive=False)
    etcd.ctl("lease", "revoke", f"{int(lease.id):x}")
    with pytest.raises(RegistryError, match="has ended: put under a new one"):
        registry.put("a", "1", lease=lease)
    assert not lease.renew()


def test_what_no_longer_stands_under_a_lease_is_not_put_again(etcd: Etcd, registry: EtcdRegistry) -> None:
    lease, other = registry.lease(60), registry.lease(60)
    names = ["stays", "changes", "deleted", "tree/1", "tree/2", "moved", "freed"]
    registry.put_all(dict.fromkeys(names, "1"), lease=lease)
    registry.put("changes", "2", lease=lease)
    registry.delete("deleted")
    registry.delete_subtree("tree")
    registry.put("moved", "2", lease=other)
    registry.put("freed", "2")
    for one in (lease, other):
        etcd.ctl("lease", "revoke", f"{int(one.id):x}")
    registry.delete("freed")
    assert lease.renew()
    assert registry.subtree("") == {"stays": "1", "changes": "2"}
    assert other.renew()
    assert registry.subtree("") == {"stays": "1", "changes": "2", "moved": "2"}


def test_what_others_took_over_while_a_lease_was_lost_is_left_to_them(
    etcd: Etcd, registry: EtcdRegistry, watcher: EtcdRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    lease = registry.lease(60)
    registry.put_all({"leader": "we", "own": "1"}, lease=lease)
    etcd.ctl("lease", "revoke", f"{int(lease.id):x}")
    assert watcher.put("leader", "they", only_if_absent=True)
    assert lease.renew()
    assert registry.subtree("") == {"leader": "they", "own": "1"}
    assert "b'/leader' in etcd was taken over by others" in caplog.text
    lease.end()
    assert registry.subtree("") == {"leader": "they"}


def test_of_more_values_than_are_put_at_once_some_may_be_taken_over(etcd: Etcd, watcher: EtcdRegistry) -> None:
    with EtcdRegistry(etcd.address, prefix="/", timeout_s=DEADLINE_S) as registry:
        lease = registry.lease(60)
        values = {f"a/{number:03}": "ours" for number in range(150)}
        for key, value in values.items():
            registry.put(key, value, lease=lease)
        etcd.ctl("lease", "revoke", f"{int(lease.id):x}")
        watcher.put("a/007", "theirs")
        assert lease.renew()
        assert registry.subtree("") == values | {"a/007": "theirs"}
