"""Adverts in etcd, without an etcd: keys and values, what is to stand there, what is taken from there."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco import config
from nwdisco.core import etcd
from nwdisco.core.advert import Advert
from nwdisco.core.directory import Directory, Event
from nwdisco.core.etcd import PREFIX, Exports, Imports, Value
from nwdisco.core.refused import Refused

NODE, OTHER, THIRD = "nodeAAAA", "nodeBBBB", "nodeCCCC"
LEASE = etcd.lease_id(7)


def advert(name: str = "printer/a", address: str = "10.0.0.1:80", **more: object) -> Advert:
    given: dict[str, object] = {"properties": {}, "ttl_s": 5.0, "node": NODE, "holder": "program", "born": 0.0}
    return Advert(name=name, address=address, **{**given, **more})  # type: ignore[arg-type]


def key(node: str, name: str) -> bytes:
    return PREFIX + f"{node}/{name}".encode()


class Desk:
    """A directory, what is taken into it from etcd, and what its subscribers saw."""

    def __init__(self) -> None:
        self.directory = Directory(NODE)
        self.counters: Counter[str] = Counter()
        self.imports = Imports(self.directory, self.counters)
        self.seen: list[tuple[str, str, str]] = []
        self.directory.on_event.append(self._note)

    def _note(self, event: Event) -> None:
        self.seen.append((event.kind, event.advert.name, event.advert.address))

    def stands(self, node: str, name: str, address: str, now: float = 0.0, **more: object) -> None:
        value = msgspec.json.encode({"address": address, **more})
        self.imports.stands(key(node, name), value, LEASE, now)

    def on_lan(self, node: str, name: str, address: str, rank: int = 0) -> None:
        self.directory.put(advert(name, address, node=node, holder=node, rank=rank), heard_at=0.0)

    def names(self) -> dict[str, str]:
        return {a.name: a.address for a in self.directory.all()}


@pytest.fixture
def desk() -> Desk:
    return Desk()


def wanted(exports: Exports, *changes: tuple[str, Advert | None]) -> dict[bytes, bytes | None]:
    written: dict[bytes, bytes | None] = {}
    for name, said in changes:
        written.update(exports.own_change(name, said, 10.0))
    return written


# --- keys and values ---


def test_an_advert_stands_under_its_node_and_name_with_its_age() -> None:
    said = advert("chat/ä", properties={"room": "2"}, born=7.5, rank=3)
    written = wanted(Exports(NODE, ()), ("chat/ä", said))
    assert written == {
        "nwdisco/adverts/nodeAAAA/chat/ä".encode(): b'{"address":"10.0.0.1:80","properties":{"room":"2"},"rank":3,"age_s":2.5}'
    }


@given(
    st.text(max_size=40), st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3), st.integers(0, 2**31)
)
def test_what_is_written_is_read_again(address: str, properties: dict[str, str], rank: int) -> None:
    said = advert(address=address or "x", properties=properties, rank=rank)
    try:
        value = etcd.encode(said, said.address, 4.0)
        read = etcd.decode(value)
    except (Refused, UnicodeEncodeError, msgspec.ValidationError):
        return  # no advert is like that: see test_names.py
    assert read == Value(said.address, properties, rank, 4.0)


@given(st.binary(max_size=200), st.binary(max_size=200), st.integers(0, 2**63 - 1))
def test_whatever_stands_there_never_raises(some_key: bytes, value: bytes, lease: int) -> None:
    for name in (some_key, PREFIX + some_key, PREFIX + b"nodeBBBB/" + some_key):
        desk = Desk()
        desk.imports.stands(name, value, lease, 0.0)
        desk.imports.gone(name)
        assert desk.names() == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"nwdisco/adverts/short/x", b'{"address":"a:1"}'),
        (b"nwdisco/adverts/nodeBBBB", b'{"address":"a:1"}'),
        (b"nwdisco/adverts/nodeBBBB/", b'{"address":"a:1"}'),
        (b"nwdisco/adverts/nodeBBBB/a\nb", b'{"address":"a:1"}'),
        (b"nwdisco/adverts/nodeBBBB/" + b"x" * 256, b'{"address":"a:1"}'),
        (b"nwdisco/adverts/nodeBBBB/\xff", b'{"address":"a:1"}'),
        (b"nwdisco/adverts/nodeBBBB/x", b"hello"),
        (b"nwdisco/adverts/nodeBBBB/x", b"\xff"),
        (b"nwdisco/adverts/nodeBBBB/x", b"{}"),
        (b"nwdisco/adverts/nodeBBBB/x", b'{"address":""}'),
        (b"nwdisco/adverts/nodeBBBB/x", b'{"address":5}'),
        (b"nwdisco/adverts/nodeBBBB/x", b'{"address":"a:1","properties":{"x":1}}'),
        (b"nwdisco/adverts/nodeBBBB/x", b'{"address":"a:1","rank":-1}'),
        (b"nwdisco/adverts/nodeBBBB/x", b'{"address":"a:1","age_s":-1}'),
        (b"nwdisco/adverts/nodeBBBB/x", b'{"address":"a:1","age_s":1e300}'),
        (b"nwdisco/adverts/nodeBBBB/x", b'{"address":"a:1","properties":{"x":"' + b"y" * 3000 + b'"}}'),
        (b"nwdisco/adverts/nodeBBBB/x", b"[" * 2000),
        (b"hello/1", b"no address"),
        (b"hello/1", b"host:"),
        (b"hello/1", b":80"),
        (b"hello/1", b"host:66554"),
        (b"hello/1", b"host:80\n"),
        (b"hello/1", b"\xff:80"),
        (b"hello/\xff", b"host:80"),
    ],
)
def test_what_is_foreign_or_broken_is_left_out_and_counted(desk: Desk, name: bytes, value: bytes) -> None:
    desk.stands(OTHER, "x", "10.0.0.9:9")
    desk.stands(OTHER, "y", "10.0.0.9:10")
    desk.imports.stands(name, value, 1, 0.0)
    assert desk.counters["refused"] == 1
    assert desk.names()["y"] == "10.0.0.9:10"


def test_rooms_have_prefixes_of_their_own(desk: Desk) -> None:
    prefix = etcd.prefix_of("3b")
    assert prefix.startswith(b"nwdisco@")
    assert prefix != etcd.prefix_of("3c")
    exports, imports = Exports(OTHER, (), prefix), Imports(desk.directory, desk.counters, prefix)
    for name, value in exports.own_change("a", advert("a"), 0.0):
        assert name == prefix + b"nodeBBBB/a"
        assert value is not None
        imports.stands(name, value, LEASE, 0.0)
    assert set(desk.names()) == {"a"}


# --- what is to stand there ---


def test_a_withdrawn_advert_stands_there_no_more() -> None:
    exports = Exports(NODE, ())
    assert wanted(exports, ("a", advert("a")), ("a", None)) == {key(NODE, "a"): None}
    assert len(exports) == 0


def test_a_picked_address_is_written_as_others_reach_this_machine() -> None:
    exports = Exports(NODE, ())
    exports.ip = "192.168.7.7"
    picked, given_ = advert("a", "10.0.0.1:80", picked=True), advert("b", "10.0.0.1:81")
    values = [msgspec.json.decode(v)["address"] for v in wanted(exports, ("a", picked), ("b", given_)).values() if v]
    assert values == ["192.168.7.7:80", "10.0.0.1:81"]


def test_members_of_a_plain_service_stand_under_the_lease_too_each_under_a_key_of_its_own() -> None:
    exports = Exports(NODE, ("hello",))
    exports.lease = 55
    written = wanted(exports, *((f"hello/{n}", advert(f"hello/{n}", f"10.0.0.1:{n}")) for n in (1, 2, 3)))
    plain = {k: v for k, v in written.items() if not k.startswith(PREFIX)}
    assert plain == {b"hello/55": b"10.0.0.1:1", b"hello/55-2": b"10.0.0.1:2", b"hello/55-3": b"10.0.0.1:3"}
    assert wanted(exports, ("hello/1", None))[b"hello/55"] is None
    assert wanted(exports, ("hello/2", advert("hello/2", "10.0.0.1:22")))[b"hello/55-2"] == b"10.0.0.1:22"
    assert wanted(exports, ("hello/9", advert("hello/9", "10.0.0.1:9")))[b"hello/55"] == b"10.0.0.1:9"
    others = wanted(exports, ("hello", advert("hello")), ("helloo/1", advert("helloo/1")), ("shop/1", advert("shop/1")))
    assert all(k.startswith(PREFIX) for k in others)


def test_under_a_new_lease_everything_is_written_again() -> None:
    exports = Exports(NODE, ("hello",))
    exports.lease = 55
    wanted(
        exports, ("hello/1", advert("hello/1")), ("b", advert("b")), ("hello/2", advert("hello/2")), ("hello/1", None)
    )
    exports.lease = 56
    again = dict(exports.everything(20.0))
    assert {k for k, v in again.items() if v} == {key(NODE, "b"), key(NODE, "hello/2"), b"hello/56"}


def test_everything_written_again_under_the_same_lease_leaves_no_old_plain_key() -> None:
    exports = Exports(NODE, ("hello",))
    exports.lease = 55
    written = wanted(exports, ("hello/1", advert("hello/1")), ("hello/2", advert("hello/2")), ("hello/1", None))
    exports.ip = "192.168.7.7"
    written.update(exports.everything(20.0))
    assert {k for k, v in written.items() if v and not k.startswith(PREFIX)} == {b"hello/55"}


# --- what is taken from there ---


def test_what_others_have_there_is_in_the_directory_until_it_is_gone(desk: Desk) -> None:
    desk.stands(OTHER, "printer/a", "10.0.0.2:80", properties={"x": "y"}, rank=2, age_s=3.0, now=10.0)
    held = desk.directory.get("printer/a")
    assert held is not None
    assert (held.node, held.born, held.rank, dict(held.properties)) == (OTHER, 7.0, 2, {"x": "y"})
    desk.imports.gone(key(OTHER, "printer/a"))
    desk.imports.gone(key(OTHER, "printer/a"))
    assert desk.seen == [("joined", "printer/a", "10.0.0.2:80"), ("left", "printer/a", "10.0.0.2:80")]


def test_this_node_s_own_keys_are_not_taken(desk: Desk) -> None:
    desk.stands(NODE, "printer/a", "10.0.0.2:80")
    assert desk.names() == {}


def test_a_value_that_changes_is_seen_and_one_registered_again_is_not(desk: Desk) -> None:
    desk.stands(OTHER, "a", "10.0.0.2:80", age_s=1.0)
    desk.stands(OTHER, "a", "10.0.0.2:80", age_s=2.0, now=50.0)
    desk.stands(OTHER, "a", "10.0.0.2:81")
    assert desk.seen == [("joined", "a", "10.0.0.2:80"), ("changed", "a", "10.0.0.2:81")]


def test_a_value_that_breaks_is_gone(desk: Desk) -> None:
    desk.stands(OTHER, "a", "10.0.0.2:80")
    desk.imports.stands(key(OTHER, "a"), b"nonsense", LEASE, 0.0)
    assert desk.names() == {}


def test_a_listing_is_everything_of_its_prefix(desk: Desk) -> None:
    desk.stands(OTHER, "a", "10.0.0.2:80")
    desk.stands(THIRD, "b", "10.0.0.3:80")
    desk.imports.stands(b"hello/1", b"10.0.0.4:80", 1, 0.0)
    desk.seen.clear()
    desk.imports.listing(PREFIX, [(key(THIRD, "b"), b'{"address":"10.0.0.3:80"}', LEASE)], 0.0)
    assert desk.seen == [("left", "a", "10.0.0.2:80")]
    assert set(desk.names()) == {"b", "hello/1"}


def test_plain_keys_of_others_are_adverts_and_those_of_beacons_are_not(desk: Desk) -> None:
    desk.imports.stands(b"hello/7587", b"10.0.0.4:80", 7587, 0.0)
    desk.imports.stands(b"hello/55", b"10.0.0.5:80", LEASE, 0.0)
    assert desk.names() == {"hello/7587": "10.0.0.4:80"}


@pytest.mark.parametrize("is_listed", [False, True])
def test_a_plain_key_of_a_stranger_s_that_a_beacon_takes_is_the_stranger_s_no_more(desk: Desk, is_listed: bool) -> None:
    desk.imports.stands(b"hello/7587", b"10.0.0.4:80", 7587, 0.0)
    if is_listed:
        desk.imports.listing(b"hello/", [(b"hello/7587", b"10.0.0.5:80", LEASE)], 0.0)
    else:
        desk.imports.stands(b"hello/7587", b"10.0.0.5:80", LEASE, 0.0)
    assert desk.names() == {}


def test_of_two_machines_with_one_name_the_higher_rank_is_seen_and_a_new_one_here_ranks_above(desk: Desk) -> None:
    desk.stands(OTHER, "a", "10.0.0.2:80", rank=4)
    desk.stands(THIRD, "a", "10.0.0.3:80", rank=5)
    assert desk.names() == {"a": "10.0.0.3:80"}
    assert desk.directory.next_rank("a", 100.0) == 6


def test_limits_keep_newcomers_out_and_what_is_known_in(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "MAX_ADVERTS_PER_NODE", 2)
    monkeypatch.setattr(config, "MAX_NODES", 2)
    for node in (OTHER, THIRD, "nodeDDDD"):
        for number in range(3):
            desk.stands(node, f"{node}/{number}", "10.0.0.2:80")
    assert set(desk.names()) == {f"{node}/{number}" for node in (OTHER, THIRD) for number in (0, 1)}
    assert desk.counters["over_limit"] == 5
    desk.stands(OTHER, f"{OTHER}/0", "10.0.0.2:99")
    assert desk.names()[f"{OTHER}/0"] == "10.0.0.2:99"


def test_what_etcd_had_goes_when_it_is_away_for_too_long_and_comes_again(desk: Desk) -> None:
    desk.stands(OTHER, "a", "10.0.0.2:80")
    desk.imports.stands(b"hello/7587", b"10.0.0.4:80", 7587, 0.0)
    desk.imports.clear(is_plain=False)
    assert set(desk.names()) == {"hello/7587"}
    desk.imports.clear(is_plain=True)
    assert desk.names() == {}
    desk.stands(OTHER, "a", "10.0.0.2:80")
    assert set(desk.names()) == {"a"}


# --- heard both ways ---


def test_an_advert_heard_both_ways_is_one_advert_whichever_comes_first(desk: Desk) -> None:
    desk.stands(OTHER, "a", "10.0.0.2:80")
    desk.on_lan(OTHER, "a", "10.0.0.2:80")
    desk.imports.near(OTHER)
    desk.on_lan(OTHER, "b", "10.0.0.2:81")
    desk.stands(OTHER, "b", "10.0.0.2:81")
    assert desk.seen == [("joined", "a", "10.0.0.2:80"), ("joined", "b", "10.0.0.2:81")]


def test_what_a_node_withdraws_on_the_lan_is_gone_at_once_and_does_not_come_back_by_a_late_word_of_etcd(
    desk: Desk,
) -> None:
    desk.on_lan(OTHER, "a", "10.0.0.2:80")
    desk.imports.near(OTHER)
    desk.stands(OTHER, "a", "10.0.0.2:80")
    desk.directory.remove(OTHER, "a")
    desk.stands(OTHER, "c", "10.0.0.2:82")
    desk.imports.gone(key(OTHER, "c"))
    assert desk.seen == [("joined", "a", "10.0.0.2:80"), ("left", "a", "10.0.0.2:80")]


def test_a_node_that_the_lan_has_lost_stays_listed_while_its_lease_in_etcd_lives(desk: Desk) -> None:
    desk.on_lan(OTHER, "a", "10.0.0.2:80")
    desk.imports.near(OTHER)
    desk.stands(OTHER, "a", "10.0.0.2:80")
    desk.imports.far(OTHER)
    desk.directory.remove_all(OTHER)
    assert desk.seen == [("joined", "a", "10.0.0.2:80")]
    desk.imports.gone(key(OTHER, "a"))
    assert desk.seen[1:] == [("left", "a", "10.0.0.2:80")]


def test_a_node_that_said_goodbye_is_gone_both_ways(desk: Desk) -> None:
    desk.on_lan(OTHER, "a", "10.0.0.2:80")
    desk.stands(OTHER, "a", "10.0.0.2:80")
    desk.imports.near(OTHER)
    desk.directory.remove_all(OTHER)
    desk.imports.left(OTHER)
    assert desk.names() == {}
    assert len(desk.imports) == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["stands", "gone", "near", "far", "left", "lan puts", "lan removes", "clear"]),
        st.sampled_from([OTHER, THIRD]),
        st.sampled_from(["a", "b"]),
        st.integers(1, 3),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_a_near_node_is_as_the_lan_has_it_and_a_far_one_as_etcd_has_it(
    steps: list[tuple[str, str, str, int]],
) -> None:
    desk = Desk()
    there: dict[tuple[str, str], str] = {}
    lan: dict[tuple[str, str], str] = {}
    near: set[str] = set()
    for what, node, name, port in steps:
        address, full = f"10.0.0.2:{port}", f"{node}/{name}"
        if what == "stands":
            desk.stands(node, full, address)
            there[node, full] = address
        elif what == "gone":
            desk.imports.gone(key(node, full))
            there.pop((node, full), None)
        elif what == "near":
            desk.imports.near(node)
            near.add(node)
        elif what == "far" or what == "left":
            (desk.imports.far if what == "far" else desk.imports.left)(node)
            desk.directory.remove_all(node)
            near.discard(node)
            lan = {k: v for k, v in lan.items() if k[0] != node}
            if what == "left":
                there = {k: v for k, v in there.items() if k[0] != node}
        elif what == "clear":
            desk.imports.clear(is_plain=False)
            there.clear()
        elif node in near:
            if what == "lan puts":
                desk.on_lan(node, full, address)
                lan[node, full] = address
            else:
                desk.directory.remove(node, full)
                lan.pop((node, full), None)
        believed = {k[1]: v for k, v in there.items() if k[0] not in near} | {k[1]: v for k, v in lan.items()}
        assert desk.names() == believed
