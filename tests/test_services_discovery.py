"""Discovery over a registry: register, list, watch, locate, by each schema."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

import nwdisco.services
from nwdisco.addresses import own_addresses
from nwdisco.errors import AddressError, AdvertError, NoInstanceError, RegistryError, RegistryKeyError
from nwdisco.services import (
    Discovery,
    HostPort,
    InstanceEvent,
    InstanceWatch,
    JsonPerInstance,
    LeastUsed,
    MemoryRegistry,
    PropertyPerKey,
    RegistrySource,
    RoundRobin,
)
from nwdisco.services.instance import is_port
from nwdisco.services.schema import Schema
from tests.machines import DEADLINE_S, wait_until

SCHEMAS: list[Schema] = [PropertyPerKey(), JsonPerInstance(), HostPort()]
every_schema = pytest.mark.parametrize("schema", SCHEMAS, ids=["PropertyPerKey", "JsonPerInstance", "HostPort"])


@pytest.fixture
def registry() -> Iterator[MemoryRegistry]:
    with MemoryRegistry() as registry:
        yield registry


@pytest.fixture
def discovery(registry: MemoryRegistry) -> Iterator[Discovery]:
    with Discovery(RegistrySource(registry)) as discovery:
        yield discovery


def events(watch: InstanceWatch, number: int) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for _ in range(number):
        event = watch.next(DEADLINE_S)
        assert event is not None, f"only {found}"
        found.append((event.kind, event.instance.id))
    return found


@every_schema
def test_what_is_registered_is_listed_located_and_gone_again(registry: MemoryRegistry, schema: Schema) -> None:
    with Discovery(RegistrySource(registry, schema)) as discovery:
        registration = discovery.register("printer", address="127.0.0.1:80")
        other = discovery.register("lamp", address="127.0.0.1:81", id="l1")
        assert discovery.clusters() == ["default"]
        assert discovery.services() == ["lamp", "printer"]
        assert discovery.instances("printer") == [registration.instance]
        assert discovery.instances("lamp")[0].id == "l1"
        assert discovery.locate("printer").url == "http://127.0.0.1:80"
        registration.unregister()
        registration.unregister()
        assert discovery.services() == ["lamp"]
        assert discovery.instances("printer") == []
        assert registration.has_ended
        assert not other.has_ended
    assert registry.subtree("") == {}


@every_schema
def test_a_watch_tells_who_is_there_then_who_comes_changes_and_goes(registry: MemoryRegistry, schema: Schema) -> None:
    with Discovery(RegistrySource(registry, schema)) as discovery:
        a = discovery.register("printer", address="127.0.0.1:80", id="a")
        with discovery.watch("printer") as watch:
            b = discovery.register("printer", address="127.0.0.1:81", id="b")
            discovery.register("lamp", address="127.0.0.1:82")
            a.update({"port": "83"})
            b.unregister()
            assert events(watch, 4) == [("joined", "a"), ("joined", "b"), ("changed", "a"), ("left", "b")]
            assert watch.next(0) is None
        assert watch.next() is None
        assert watch.has_ended


def test_who_was_there_before_joins_once_with_all_keys_however_they_were_written(registry: MemoryRegistry) -> None:
    for name, value in (("dpi", "600"), ("hostname", "lab2"), ("port", "80")):
        registry.put(f"default/services/printer/by hand/{name}", value)
    with Discovery(RegistrySource(registry, PropertyPerKey())) as discovery, discovery.watch("printer") as watch:
        event = watch.next(DEADLINE_S)
        assert event is not None
        assert (event.kind, len(event.instance.properties)) == ("joined", 3)
        assert watch.next(0) is None


@every_schema
def test_followed_while_others_write_busily_it_ends_as_a_fresh_look(registry: MemoryRegistry, schema: Schema) -> None:
    source = RegistrySource(registry, schema)
    over = threading.Event()

    def write(writer: int) -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            place = {"hostname": "h", "port": str(turn % 65535 + 1)}
            registration = source.register("default", "printer", place, id=f"{writer} {turn % 5}")
            if turn % 3:
                registration.unregister()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in writers:
        thread.start()
    pools = []
    for _ in range(20):
        with Discovery(source) as discovery:
            discovery.pool("printer").wait(DEADLINE_S)
        pools.append(Discovery(source).pool("printer"))
    over.set()
    for thread in writers:
        thread.join(DEADLINE_S)
    there = set(source.instances("default", "printer"))
    wait_until(lambda: all(set(pool.instances()) == there for pool in pools), "all pools in step")
    source.close()


def test_a_watch_ends_when_it_is_closed_from_another_thread_or_its_discovery_is(discovery: Discovery) -> None:
    for close in ("watch", "discovery"):
        watch = discovery.watch("printer")
        seen: list[str] = []
        waiting = threading.Thread(target=lambda watch=watch, seen=seen: seen.extend(event.kind for event in watch))
        waiting.start()
        (watch if close == "watch" else discovery).close()
        waiting.join(DEADLINE_S)
        assert not waiting.is_alive(), close
        assert seen == []


def test_an_update_replaces_all_properties_but_where_it_is(registry: MemoryRegistry) -> None:
    discovery = Discovery(RegistrySource(registry, PropertyPerKey()))
    registration = discovery.register("printer", address="127.0.0.1:80", properties={"dpi": "600"}, id="a")
    registration.update({"health": "down"})
    properties = {"hostname": "127.0.0.1", "port": "80", "health": "down"}
    assert registration.instance.properties == properties
    assert discovery.instances("printer")[0].properties == properties
    assert "default/services/printer/a/dpi" not in registry.subtree("")
    registration.update({"port": "81"})
    assert discovery.locate("printer").address == "127.0.0.1:81"
    with pytest.raises(RegistryKeyError):
        registration.update({"a/b": "c"})
    assert discovery.instances("printer") == [registration.instance]
    registration.unregister()
    with pytest.raises(RegistryError, match="not registered any more"):
        registration.update({})
    discovery.close()


def test_what_is_missing_of_an_address_is_picked(discovery: Discovery) -> None:
    picked = discovery.register("a").instance
    assert picked.properties["hostname"] in own_addresses()
    assert is_port(picked.properties["port"])
    assert discovery.register("b", address=":80").instance.address == f"{picked.properties['hostname']}:80"
    assert discovery.register("c", address="127.*").instance.properties["hostname"].startswith("127.")
    named = discovery.register("d", properties={"hostname": "printer.example"}).instance
    assert named.properties["hostname"] == "printer.example"
    assert is_port(named.properties["port"])
    own = {"hostname": "printer.example", "port": "80", "protocol": "https"}
    assert discovery.register("e", properties=own).instance.url == "https://printer.example:80"


def test_an_address_that_is_none_or_given_twice_is_refused_and_leaves_nothing(
    discovery: Discovery, registry: MemoryRegistry
) -> None:
    with pytest.raises(AddressError, match="give one from 1 to 65535"):
        discovery.register("printer", address=":66554")
    with pytest.raises(AddressError, match="an address was given too"):
        discovery.register("printer", address=":80", properties={"port": "81"})
    for bad in ({"service": "a/b"}, {"service": "a", "id": "a/b"}, {"service": "a", "properties": {"x": 1}}):
        with pytest.raises(RegistryKeyError):
            discovery.register(**bad)
    with pytest.raises(RegistryKeyError):
        discovery.register("printer", ttl_s=0.5)
    assert registry.subtree("") == {}
    assert registry._leases == set()


def test_who_registers_an_id_that_is_there_takes_it_over(discovery: Discovery) -> None:
    before = discovery.register("printer", address="127.0.0.1:80", id="a")
    with discovery.watch("printer") as watch:
        after = discovery.register("printer", address="127.0.0.1:81", id="a")
        before.unregister()
        assert discovery.instances("printer") == [after.instance]
        assert events(watch, 2) == [("joined", "a"), ("changed", "a")]
        assert watch.next(0) is None


@every_schema
def test_who_takes_an_id_over_has_nothing_of_what_the_other_said_and_does_not_leave_meanwhile(
    registry: MemoryRegistry, schema: Schema
) -> None:
    said = {} if isinstance(schema, HostPort) else {"health": "failing", "dpi": "600"}
    with Discovery(RegistrySource(registry, schema)) as one, Discovery(RegistrySource(registry, schema)) as other:
        before = one.register("printer", address="127.0.0.1:80", id="a1", properties=said)
        beside = [
            one.register("printer", address="127.0.0.1:80", id="a10", properties=said).instance,
            one.register("printers", address="127.0.0.1:80", id="a1", properties=said).instance,
        ]
        with one.watch("printer") as watch:
            assert sorted(events(watch, 2)) == [("joined", "a1"), ("joined", "a10")]
            after = other.register("printer", address="127.0.0.1:81", id="a1").instance
            assert one.instances("printer") == [after, beside[0]]
            assert one.instances("printers") == [beside[1]]
            heard: list[InstanceEvent] = []
            while not heard or heard[-1].instance != after:
                event = watch.next(DEADLINE_S)
                assert event is not None, heard
                heard.append(event)
            assert {event.kind for event in heard} == {"changed"}
            before.unregister()
            assert one.instances("printer") == [after, beside[0]]
            assert watch.next(0) is None


def test_ids_that_are_made_up_are_different(discovery: Discovery) -> None:
    assert len({discovery.register("printer", address="127.0.0.1:80").instance.id for _ in range(50)}) == 50


def test_clusters_know_nothing_of_each_other(registry: MemoryRegistry) -> None:
    source = RegistrySource(registry)
    with Discovery(source, cluster="a") as a, Discovery(source, cluster="b") as b:
        a.register("printer", address="127.0.0.1:80")
        assert a.clusters() == b.clusters() == ["a"]
        assert a.services() == ["printer"]
        assert b.services() == []
        assert b.instances("printer") == []
        with pytest.raises(NoInstanceError):
            b.locate("printer")


def test_host_port_has_the_cluster_that_it_was_made_with(registry: MemoryRegistry) -> None:
    with Discovery(RegistrySource(registry, HostPort("shop"))) as discovery:
        registration = discovery.register("Hello", address="127.0.0.1:1234")
        assert discovery.cluster == "shop"
        assert registry.subtree("") == {f"Hello/{registration.instance.id}": "127.0.0.1:1234"}
    with pytest.raises(RegistryKeyError, match="'default' only"):
        Discovery(RegistrySource(registry, HostPort()), cluster="shop").services()


# --- locate and pools -------------------------------------------------------------------------------------


def test_locate_waits_for_the_first_and_says_when_there_is_none(discovery: Discovery) -> None:
    with pytest.raises(NoInstanceError, match="no instance of 'printer': start one"):
        discovery.locate("printer")
    with pytest.raises(NoInstanceError, match=r"after 0\.01 s"):
        discovery.locate("printer", wait_s=0.01)
    late = threading.Timer(0.05, lambda: discovery.register("printer", address="127.0.0.1:80", id="late"))
    late.start()
    assert discovery.locate("printer", wait_s=DEADLINE_S).id == "late"
    late.join()


@pytest.mark.parametrize("strategy", ["round robin", "least used", "weighted", "healthy"])
def test_locate_goes_round_all_of_them(discovery: Discovery, strategy: str) -> None:
    for id in "abc":
        discovery.register("printer", address="127.0.0.1:80", id=id)
    found = [discovery.locate("printer", strategy).id for _ in range(6)]
    assert sorted(found) == ["a", "a", "b", "b", "c", "c"]


def test_locate_takes_an_object_and_a_function_of_one_s_own(discovery: Discovery) -> None:
    discovery.register("printer", address="127.0.0.1:80", id="a", properties={"load": "0.9"})
    discovery.register("printer", address="127.0.0.1:80", id="b", properties={"load": "0.2"})
    own = LeastUsed()
    assert {discovery.locate("printer", own).id for _ in range(2)} == {"a", "b"}
    for _ in range(3):  # a new function each time costs no new pool
        found = discovery.locate("printer", lambda all: min(all, key=lambda one: float(one.properties["load"])))
        assert found.id == "b"
    assert len(discovery._pools) == 2
    with pytest.raises(ValueError, match="no strategy 'best'"):
        discovery.locate("printer", "best")


def test_the_same_service_and_strategy_are_the_same_pool_until_it_is_closed(discovery: Discovery) -> None:
    own = RoundRobin()
    pool = discovery.pool("printer")
    assert discovery.pool("printer", "round robin") is pool
    assert discovery.pool("printer", "random") is not pool
    assert discovery.pool("lamp") is not pool
    assert discovery.pool("printer", own) is discovery.pool("printer", own)
    with pytest.raises(ValueError, match="serves another service"):
        discovery.pool("lamp", own)
    pool.close()
    assert discovery.pool("printer") is not pool
    discovery.pool("printer", own).close()
    assert discovery.pool("lamp", own).instances() == []


def test_two_discoveries_find_each_other_s(registry: MemoryRegistry) -> None:
    with Discovery(RegistrySource(registry)) as one, Discovery(RegistrySource(registry)) as other:
        pool = other.pool("printer")
        one.register("printer", address="127.0.0.1:80", id="a")
        assert pool.wait(DEADLINE_S)
        assert other.locate("printer").id == "a"
        one.close()
        wait_until(lambda: not pool.instances(), "a gone with its discovery")


# --- its end ----------------------------------------------------------------------------------------------


def test_close_ends_what_came_from_it_and_leaves_the_registry_open(registry: MemoryRegistry) -> None:
    discovery = Discovery(RegistrySource(registry))
    discovery.register("printer", address="127.0.0.1:80")
    pool, watch = discovery.pool("printer"), discovery.watch("printer")
    discovery.close()
    discovery.close()
    assert registry.subtree("") == {}
    assert pool.is_closed
    assert watch.has_ended
    assert registry._followings == ()
    assert registry._leases == set()
    for call in (discovery.watch, discovery.pool, discovery.register, discovery.locate):
        with pytest.raises(RegistryError, match="this discovery is closed"):
            call("printer")
    registry.put("still", "open")


def test_closing_a_source_ends_its_registrations_and_followers(registry: MemoryRegistry) -> None:
    source = RegistrySource(registry)
    registration = source.register("default", "printer", {"port": "80", "hostname": "h"})
    source.follow("default", "printer", lambda event: None)
    source.close()
    assert registration.has_ended
    assert registry.subtree("") == {}
    assert registry._followings == ()


def test_after_the_registry_is_closed_closing_the_rest_does_no_harm(registry: MemoryRegistry) -> None:
    discovery = Discovery(RegistrySource(registry))
    discovery.register("printer", address="127.0.0.1:80")
    discovery.pool("printer")
    registry.close()
    discovery.close()


def test_what_was_unregistered_and_closed_is_not_kept(discovery: Discovery) -> None:
    for _ in range(20):
        discovery.register("printer", address="127.0.0.1:80").unregister()
        discovery.watch("printer").close()
    assert len(discovery._open) == 1


def test_a_local_network_without_clusters_is_not_asked_for_one() -> None:
    with Discovery(cluster="shop") as discovery, pytest.raises(AdvertError, match="one cluster, 'lan', not 'shop'"):
        discovery.services()


# --- the package ------------------------------------------------------------------------------------------


def test_every_name_of_the_package_is_there() -> None:
    for name in nwdisco.services.__all__:
        assert getattr(nwdisco.services, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = nwdisco.services.Nothing


def test_importing_nwdisco_takes_in_nothing_of_it() -> None:
    code = (
        "import sys, nwdisco; assert 'nwdisco.services' not in sys.modules;"
        "import nwdisco.services; assert [m for m in sys.modules if m.startswith('nwdisco.services.')] == [];"
        "nwdisco.services.Discovery; assert 'httpx' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
