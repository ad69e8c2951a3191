"""The registry in etcd, restored from a backup: what is under leases that are kept alive is as programs last put it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nwdisco.services.discovery import Discovery
from nwdisco.services.etcd import EtcdRegistry
from nwdisco.services.registered import RegistrySource
from nwdisco.services.sources import InstanceEvent
from tests.etcd import Etcd, missing_etcd
from tests.machines import DEADLINE_S, wait_until
from tests.registry_tools import TTL_S, Heard, put

pytestmark = pytest.mark.skipif(missing_etcd() is not None, reason=str(missing_etcd()))

LONG_S = 300
"""Of a lease that is not renewed while a test runs."""


@pytest.fixture
def registry(etcd: Etcd) -> Iterator[EtcdRegistry]:
    with EtcdRegistry(etcd.address, prefix="/", timeout_s=DEADLINE_S) as registry:
        yield registry


@pytest.fixture
def another(etcd: Etcd) -> Iterator[EtcdRegistry]:
    with EtcdRegistry(etcd.address, prefix="/", timeout_s=DEADLINE_S) as another:
        yield another


def test_all_that_stood_under_a_lease_is_had_again_and_what_did_not_is_gone(
    etcd: Etcd, registry: EtcdRegistry, another: EtcdRegistry
) -> None:
    lease, young = registry.lease(TTL_S), registry.lease(TTL_S)
    registry.put_all(dict.fromkeys(["same", "changed", "deleted", "moved", "tree/1", "tree/2"], "old"), lease=lease)
    etcd.back_up()
    registry.put_all({"changed": "new", "added": "new"}, lease=lease)
    registry.put("moved", "new", lease=young)
    registry.put_all({f"many/{number}": "new" for number in range(100)}, lease=lease)
    registry.delete("deleted")
    registry.delete_subtree("tree")
    there = registry.subtree("")
    heard = Heard()
    with another.follow("", heard.append):
        etcd.restore()
        wait_until(lambda: another.subtree("") == there, "as before")
        wait_until(lambda: heard.state() == there, "who follows knows it")
    lease.end()
    assert another.subtree("") == {"moved": "new"}
    young.end()
    assert another.subtree("") == {}


def test_a_registration_is_as_it_was_told_last(etcd: Etcd, registry: EtcdRegistry, another: EtcdRegistry) -> None:
    with (
        Discovery(RegistrySource(registry)) as ours,
        Discovery(RegistrySource(another)) as theirs,
        theirs.watch("printer") as watch,
    ):
        stays = ours.register("printer", id="stays", address="10.0.0.1:80", properties={"v": "old"}, ttl_s=TTL_S)
        goes = ours.register("printer", id="goes", address="10.0.0.1:81", ttl_s=TTL_S)
        etcd.back_up()
        stays.update({"v": "new"})
        goes.unregister()
        comes = ours.register("printer", id="comes", address="10.0.0.1:82", ttl_s=TTL_S)
        etcd.restore()
        wait_until(lambda: theirs.instances("printer") == [comes.instance, stays.instance], "as before")
        stays.update({"v": "last"})
        told: list[InstanceEvent] = []
        while not told or told[-1].instance != stays.instance:
            event = watch.next(DEADLINE_S)
            assert event is not None
            told.append(event)
        assert ("left", "stays") not in {(event.kind, event.instance.id) for event in told}


@pytest.mark.parametrize("what", ["put", "put without a lease", "delete"])
def test_a_write_finds_out_before_the_next_renewal_does(etcd: Etcd, registry: EtcdRegistry, what: str) -> None:
    lease = registry.lease(LONG_S)
    registry.put("a", "old", lease=lease)
    etcd.back_up()
    registry.put("a", "new", lease=lease)
    etcd.restore()
    if what == "delete":
        registry.delete("b")
    else:
        registry.put("b", "1", lease=lease if what == "put" else None)
        registry.delete("b")
    assert registry.subtree("") == {"a": "new"}


def test_a_renewal_finds_out_for_all_leases(etcd: Etcd, registry: EtcdRegistry) -> None:
    lease, other = registry.lease(LONG_S), registry.lease(LONG_S)
    etcd.back_up()
    registry.put("a", "1", lease=lease)
    registry.put("b", "1", lease=other)
    etcd.restore()
    assert lease.renew()
    assert registry.subtree("") == {"a": "1", "b": "1"}


def test_who_took_a_key_over_after_the_backup_has_it_again(
    etcd: Etcd, registry: EtcdRegistry, another: EtcdRegistry
) -> None:
    first, second = registry.lease(LONG_S), another.lease(LONG_S)
    registry.put_all({"leader": "first", "own": "1"}, lease=first)
    etcd.back_up()
    another.put("leader", "second", lease=second)
    registry.put("own", "2", lease=first)
    etcd.restore()
    for lease in (second, first, second):
        assert lease.renew()
        assert registry.get("leader") == "second"
    assert registry.get("own") == "2"


def test_a_restart_without_a_loss_puts_nothing_again(etcd: Etcd, registry: EtcdRegistry, another: EtcdRegistry) -> None:
    lease = registry.lease(LONG_S)
    registry.put_all({"a": "1", "b": "1"}, lease=lease)
    another.put("a", "theirs")
    another.delete("b")
    heard = Heard()
    with another.follow("", heard.append):
        etcd.kill()
        etcd.start()
        assert lease.renew()
        etcd.ctl("compact", str(etcd.revision()))
        registry.put("c", "1", lease=lease)
        heard.until(put("c", "1"))
    assert heard == [put("a", "theirs"), put("c", "1")]
