"""What the three schemas write, that they read it back, and that nothing foreign makes them raise."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco.errors import AddressError, RegistryKeyError
from nwdisco.services import Change, Clusters, HostPort, InstanceKey, JsonPerInstance, MemoryRegistry, PropertyPerKey
from nwdisco.services.instance import ServiceInstance
from nwdisco.services.reading import Changes, Reader
from nwdisco.services.registered import RegistrySource
from nwdisco.services.schema import ID_DIGITS, Schema
from nwdisco.services.sources import MAX_WARNED, InstanceEvent

ALL: list[Schema] = [PropertyPerKey(), JsonPerInstance(), HostPort()]
PLACE = {"hostname": "192.168.1.7", "port": "8080"}
DPI = ServiceInstance("shop", "printer", "a1", {**PLACE, "dpi": "600"})

parts = st.text(min_size=1, max_size=8).filter(lambda text: text.isprintable() and "/" not in text)
values = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
places = st.fixed_dictionaries(
    {
        "hostname": st.from_regex(r"[a-z0-9.-]{1,12}|\[[0-9a-f:]{2,9}\]", fullmatch=True),
        "port": st.integers(1, 65535).map(str),
    }
)
instances = st.builds(ServiceInstance, parts, parts, parts, st.dictionaries(parts, values, max_size=5))
bare_instances = st.builds(ServiceInstance, st.just("default"), parts, parts, places)


def written(schema: Schema, *all_instances: ServiceInstance) -> dict[str, str]:
    return {key: value for instance in all_instances for key, value in schema.write(instance).items()}


def read(schema: Schema, entries: Mapping[str, str]) -> set[ServiceInstance]:
    return set(Reader(schema).instances(entries))


def test_a_property_per_key_is_written_as_a_tree_of_files() -> None:
    assert PropertyPerKey().write(DPI) == {
        "shop/services/printer/a1": '["dpi", "hostname", "port"]',
        "shop/services/printer/a1/hostname": "192.168.1.7",
        "shop/services/printer/a1/port": "8080",
        "shop/services/printer/a1/dpi": "600",
    }


def test_json_per_instance_is_one_key() -> None:
    assert JsonPerInstance().write(DPI) == {
        "shop/services/printer/a1": '{"dpi": "600", "hostname": "192.168.1.7", "port": "8080"}'
    }


def test_host_port_is_the_plain_way_of_etcd() -> None:
    instance = ServiceInstance("default", "Hello", "7587", {"hostname": "host", "port": "1234"})
    assert HostPort().write(instance) == {"Hello/7587": "host:1234"}


@pytest.mark.parametrize("schema", [PropertyPerKey(), JsonPerInstance()])
@given(st.lists(instances, max_size=4, unique_by=lambda instance: instance.key))
def test_what_is_written_is_read_back_and_stands_beneath_its_prefix(
    schema: Schema, all_instances: list[ServiceInstance]
) -> None:
    assert read(schema, written(schema, *all_instances)) == set(all_instances)
    for instance in all_instances:
        for prefix in (schema.prefix(instance.cluster, instance.service), schema.prefix(instance.cluster)):
            assert all(key.startswith(prefix + "/") for key in schema.write(instance))


@given(st.lists(bare_instances, max_size=4, unique_by=lambda instance: instance.key))
def test_host_port_is_read_back_too(all_instances: list[ServiceInstance]) -> None:
    assert read(HostPort(), written(HostPort(), *all_instances)) == set(all_instances)
    for instance in all_instances:
        prefix = HostPort().prefix(instance.cluster, instance.service)
        assert all(key.startswith(prefix + "/") for key in HostPort().write(instance))


def test_host_port_refuses_other_properties_clusters_and_a_missing_address() -> None:
    with pytest.raises(RegistryKeyError, match=r"hostname and port only, not dpi: .* JsonPerInstance"):
        HostPort("shop").write(DPI)
    with pytest.raises(RegistryKeyError, match="'default' only, not 'shop'"):
        HostPort().write(ServiceInstance("shop", "printer", "a1", PLACE))
    with pytest.raises(RegistryKeyError, match="'default' only, not 'shop'"):
        HostPort().prefix("shop", "printer")
    with pytest.raises(AddressError, match="no hostname and no port"):
        HostPort().write(ServiceInstance("default", "printer", "a1"))
    assert HostPort("shop").write(ServiceInstance("shop", "printer", "a1", PLACE)) == {"printer/a1": "192.168.1.7:8080"}


def test_new_ids_are_random_but_host_port_takes_the_lease_s() -> None:
    with MemoryRegistry() as registry, registry.lease(10) as lease:
        assert HostPort().new_id(lease) == lease.id
        for schema in (PropertyPerKey(), JsonPerInstance()):
            ids = {schema.new_id(lease) for _ in range(100)}
            assert len(ids) == 100
            assert all(len(id) == ID_DIGITS and int(id, 16) >= 0 for id in ids)


@pytest.mark.parametrize("schema", ALL)
@pytest.mark.parametrize("bad", ["", "a/b", "a\n"])
def test_a_cluster_or_service_that_cannot_be_has_no_prefix(schema: Schema, bad: str) -> None:
    with pytest.raises(RegistryKeyError):
        schema.prefix(bad, "printer")
    with pytest.raises(RegistryKeyError):
        schema.prefix(schema.default_cluster, bad)


def test_an_instance_without_properties_exists_in_both_schemas_that_can_hold_it() -> None:
    bare = ServiceInstance("shop", "printer", "a1")
    assert PropertyPerKey().write(bare) == {"shop/services/printer/a1": "[]"}
    assert read(PropertyPerKey(), PropertyPerKey().write(bare)) == {bare}
    assert read(JsonPerInstance(), JsonPerInstance().write(bare)) == {bare}


def test_keys_that_somebody_wrote_by_hand_are_an_instance_if_they_have_an_address() -> None:
    by_hand = {"clusterA/services/Printer/640da76bb2e3/port": "80", "clusterA/services/Printer/rest/health": "down"}
    found = {ServiceInstance("clusterA", "Printer", "640da76bb2e3", {"port": "80"})}
    assert read(PropertyPerKey(), by_hand) == found


def test_numbers_and_booleans_in_somebody_s_json_are_read_as_text() -> None:
    entries = {"shop/services/printer/a1": '{"hostname": "a", "port": 80, "weight": 0.5, "health": true}'}
    properties = {"hostname": "a", "port": "80", "weight": "0.5", "health": "true"}
    assert read(JsonPerInstance(), entries) == {ServiceInstance("shop", "printer", "a1", properties)}


# --- what is foreign or broken ----------------------------------------------------------------------------

BROKEN: list[tuple[Schema, str, str]] = [
    (JsonPerInstance(), "shop/services/printer/a2", "no JSON"),
    (JsonPerInstance(), "shop/services/printer/a2", "[]"),
    (JsonPerInstance(), "shop/services/printer/a2", '{"port": null}'),
    (JsonPerInstance(), "shop/services/printer/a2", '{"a/b": "c"}'),
    (JsonPerInstance(), "shop/services/printer/a2", '{"a": "\\ud800"}'),
    (JsonPerInstance(), "shop/services/printer/a2", "[" * 100_000),
    (JsonPerInstance(), "shop/services/printer/a2", '{"port": ' + "9" * 5000 + "}"),
    (JsonPerInstance(), "shop/services/printer/a2/port", "80"),
    (JsonPerInstance(), "shop/services/printer", "{}"),
    (PropertyPerKey(), "shop/services/printer/a2", "{}"),
    (PropertyPerKey(), "shop/services/printer/a2", "[[]]"),
    (PropertyPerKey(), "shop/services/printer/a2", "no JSON"),
    (PropertyPerKey(), "shop/services/printer/a2/port/more", "80"),
    (PropertyPerKey(), "shop/services/printer", "x"),
    (HostPort("shop"), "printer/a2", "no address"),
    (HostPort("shop"), "printer/a2", "host:0"),
    (HostPort("shop"), "printer/a2", ":80"),
    (HostPort("shop"), "printer/a2", "a/b:80"),
    (HostPort("shop"), "printer", "host:80"),
    (HostPort("shop"), "printer/a2/port", "host:80"),
]


@pytest.mark.parametrize(("schema", "key", "value"), BROKEN)
def test_what_cannot_be_read_is_left_out_with_one_warning_and_the_others_are_there(
    schema: Schema, key: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = ServiceInstance("shop", "printer", "a1", PLACE)
    events: list[InstanceEvent] = []
    with MemoryRegistry() as registry:
        registry.put_all({**schema.write(good), key: value})
        source = RegistrySource(registry, schema)
        with source.follow("shop", "printer", events.append):
            assert source.clusters() == ["shop"]
            assert source.services("shop") == ["printer"]
            assert source.instances("shop", "printer") == [good]
            assert events == [InstanceEvent("joined", good)]
    (record,) = caplog.records
    assert record.name == "nwdisco"
    assert record.levelno == logging.WARNING
    assert "is left out" in record.message


def test_keys_of_others_elsewhere_in_the_registry_are_no_business_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    with MemoryRegistry() as registry:
        registry.put_all({"a": "b", "shop/config/x": "y", "services/a/b/c": "d", "x/y/z": "{}"})
        for schema in ALL:
            source = RegistrySource(registry, schema)
            assert source.clusters() == []
            assert source.services("default") == []
    assert caplog.records == []


def test_warnings_take_no_more_memory_however_much_is_foreign(caplog: pytest.LogCaptureFixture) -> None:
    reader = Reader(JsonPerInstance())
    for number in range(MAX_WARNED + 5):
        for _ in range(2):
            assert reader.instances({f"shop/services/printer/{number}": "?"}) == []
    assert len(caplog.records) == MAX_WARNED + 5
    assert len(reader._warnings._warned) <= MAX_WARNED


foreign_keys = st.lists(
    st.sampled_from(["shop", "services", "printer", "a1", "port", "hostname"]) | st.text(max_size=5), max_size=7
).map("/".join)
foreign_values = st.text(max_size=30) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
).map(json.dumps)


@pytest.mark.parametrize("schema", ALL)
@given(st.dictionaries(foreign_keys, foreign_values, max_size=6))
def test_nothing_foreign_raises_and_what_is_read_fits_where_it_was_found(
    schema: Schema, entries: dict[str, str]
) -> None:
    for instance in Reader(schema).instances(entries):
        assert instance.key in {owner(schema, key) for key in entries}


def owner(schema: Schema, key: str) -> InstanceKey | None:
    with suppress(RegistryKeyError):
        return schema.owner(key)
    return None


# --- changes, key by key ----------------------------------------------------------------------------------


class Line:
    """Changes, as a registry tells of them."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.changes = Changes(Reader(schema))

    def put(self, entries: Mapping[str, str]) -> list[tuple[str, dict[str, str]]]:
        return self._told(Change("put", key, value) for key, value in entries.items())

    def delete(self, *keys: str) -> list[tuple[str, dict[str, str]]]:
        return self._told(Change("delete", key, None) for key in keys)

    def _told(self, changes: Iterator[Change]) -> list[tuple[str, dict[str, str]]]:
        events = [event for change in changes for event in self.changes.events(change)]
        return [(event.kind, dict(event.instance.properties)) for event in events]


@pytest.mark.parametrize("schema", [PropertyPerKey(), JsonPerInstance()])
def test_an_instance_joins_once_and_whole_and_leaves_once(schema: Schema) -> None:
    line = Line(schema)
    entries = schema.write(DPI)
    assert line.put(entries) == [("joined", dict(DPI.properties))]
    assert line.put(entries) == []
    assert line.delete(*sorted(entries)) == [("left", dict(DPI.properties))]
    assert line.put(entries) == [("joined", dict(DPI.properties))]


def test_somebody_else_may_change_one_property_of_ours() -> None:
    line = Line(PropertyPerKey())
    line.put(PropertyPerKey().write(DPI))
    assert line.put({"shop/services/printer/a1/health": "down"}) == [
        ("changed", {**DPI.properties, "health": "down"}),
    ]


def test_new_properties_of_an_update_come_all_at_once() -> None:
    line = Line(PropertyPerKey())
    line.put(PropertyPerKey().write(ServiceInstance("shop", "printer", "a1", {"port": "80"})))
    more = {"port": "80", "zone": "x", "dpi": "600"}
    assert line.put(PropertyPerKey().write(ServiceInstance("shop", "printer", "a1", more))) == [("changed", more)]


def test_who_loses_a_property_that_it_must_have_leaves() -> None:
    line = Line(PropertyPerKey())
    line.put(PropertyPerKey().write(DPI))
    assert line.delete("shop/services/printer/a1/port") == [("left", dict(DPI.properties))]


def test_keys_by_hand_come_and_go_one_by_one() -> None:
    line = Line(PropertyPerKey())
    place = "shop/services/printer/a1/"
    assert line.put({place + "port": "80"}) == [("joined", {"port": "80"})]
    assert line.put({place + "dpi": "600"}) == [("changed", {"port": "80", "dpi": "600"})]
    assert line.delete(place + "dpi") == [("changed", {"port": "80"})]
    assert line.delete(place + "port") == [("left", {"port": "80"})]


def test_a_value_that_becomes_unreadable_is_an_instance_that_leaves() -> None:
    line = Line(JsonPerInstance())
    line.put(JsonPerInstance().write(DPI))
    assert line.put({"shop/services/printer/a1": "?"}) == [("left", dict(DPI.properties))]
    assert line.put(JsonPerInstance().write(DPI)) == [("joined", dict(DPI.properties))]


steps = st.lists(
    st.tuples(foreign_keys, st.none() | foreign_values)
    | st.tuples(
        st.sampled_from(["", "/port", "/hostname", "/dpi"]).map(lambda end: "shop/services/printer/a1" + end),
        st.none() | st.sampled_from(["80", "[]", '["port"]', '{"port": "80"}', "{}"]),
    )
    | st.tuples(st.just("printer/a1"), st.none() | st.sampled_from(["host:80", "host:81", "?"])),
    max_size=20,
)


@pytest.mark.parametrize("schema", ALL)
@given(steps)
def test_whatever_changes_in_whatever_order_events_alternate_as_they_must(
    schema: Schema, steps: list[tuple[str, str | None]]
) -> None:
    there: dict[InstanceKey, ServiceInstance] = {}
    changes = Changes(Reader(schema))
    for key, value in steps:
        for event in changes.events(Change("delete" if value is None else "put", key, value)):
            before = there.pop(event.instance.key, None)
            if event.kind == "left":
                assert before == event.instance
                continue
            assert (before is None) == (event.kind == "joined")
            assert before != event.instance
            there[event.instance.key] = event.instance


@pytest.mark.parametrize("schema", [JsonPerInstance(), HostPort()])
@given(steps)
def test_with_one_key_an_instance_those_told_of_are_those_that_a_fresh_look_finds(
    schema: Schema, steps: list[tuple[str, str | None]]
) -> None:
    there: dict[InstanceKey, ServiceInstance] = {}
    store: dict[str, str] = {}
    changes = Changes(Reader(schema))
    for key, value in steps:
        if value is None:
            if store.pop(key, None) is None:
                continue
            change = Change("delete", key, None)
        else:
            store[key] = value
            change = Change("put", key, value)
        for event in changes.events(change):
            there[event.instance.key] = event.instance
            if event.kind == "left":
                del there[event.instance.key]
    assert set(there.values()) == read(schema, store)


# --- one's own --------------------------------------------------------------------------------------------


class Lines(Clusters):
    """A schema of one's own: lines of name=value."""

    def write(self, instance: ServiceInstance) -> dict[str, str]:
        return {self.place(instance.key): "\n".join(f"{name}={value}" for name, value in instance.properties.items())}

    def read(self, key: InstanceKey, entries: Mapping[str, str]) -> ServiceInstance | None:
        lines = entries[self.place(key)].splitlines()
        return ServiceInstance(*key, {line.split("=", 1)[0]: line.split("=", 1)[1] for line in lines})


def test_a_schema_of_one_s_own_is_two_methods_and_may_raise_what_it_likes(caplog: pytest.LogCaptureFixture) -> None:
    with MemoryRegistry() as registry:
        source = RegistrySource(registry, Lines())
        with source.register("shop", "printer", PLACE, id="a1"):
            registry.put("shop/services/printer/a2", "no line of it")
            assert registry.get("shop/services/printer/a1") == "hostname=192.168.1.7\nport=8080"
            assert [instance.address for instance in source.instances("shop", "printer")] == ["192.168.1.7:8080"]
    assert len(caplog.records) == 1
