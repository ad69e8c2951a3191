"""NetworkZero's datagrams, and what of them is taken into the directory, without a network."""

from __future__ import annotations

import json
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco import config
from nwdisco.core import networkzero as nz
from nwdisco.core.networkzero import as_reached, decode, encode
from nwdisco.core.refused import Refused
from tests.networkzero_desk import IP, SILENT_S, TTL_S, Desk, json_values
from tests.networkzero_peer import MALFORMED


@pytest.fixture
def desk() -> Desk:
    return Desk()


# --- datagrams ---


def test_a_datagram_of_ours_is_networkzero_s_list_with_a_line_feed_behind_it() -> None:
    assert encode("chat/ä", "10.0.0.1:80", 20.0) == '["chat/ä","10.0.0.1:80",20]\n'.encode()
    assert encode("x", "a:1", inf) == b'["x","a:1",null]\n'
    assert json.loads(encode("x", "a:1", 0.5)) == ["x", "a:1", 0.5]


def test_what_networkzero_sends_is_read() -> None:
    assert decode(b'["chat/\\u00e4", "10.0.0.1:80", 20]') == nz.Said("chat/ä", "10.0.0.1:80", 20, False)
    assert decode(b'["x", "a:1", null]').ttl_s == inf
    assert decode(encode("x", "a:1", 20)).by_nwdisco


@pytest.mark.parametrize(
    "data",
    MALFORMED,
)
def test_what_is_no_advert_is_refused(data: bytes) -> None:
    with pytest.raises(Refused) as refused:
        decode(data)
    assert refused.value.code == "malformed"


def test_more_than_256_bytes_are_refused_even_where_they_are_well_formed() -> None:
    name = "x" * (256 - len('["","a:1",20]'))
    assert decode(f'["{name}","a:1",20]'.encode()).name == name
    with pytest.raises(Refused) as refused:
        decode(f'["{name}","a:1",20] '.encode())
    assert refused.value.code == "too_long"


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    Desk().hear(data)


@given(json_values)
def test_any_json_is_read_or_refused(value: object) -> None:
    Desk().hear(json.dumps(value).encode())


@given(st.text(), st.text(), st.none() | st.floats(allow_nan=False, allow_infinity=False))
def test_whatever_is_heard_the_directory_holds_only_what_an_advert_may_say(
    name: str, address: str, ttl_s: float | None
) -> None:
    desk = Desk()
    desk.say(name, address, ttl_s)
    for advert in desk.directory.all():
        assert 0 < len(advert.name) <= 255
        assert 0 < len(advert.address) <= 255
        assert advert.name.isprintable() or "\n" not in advert.name
    desk.run(3)
    assert desk.told == []


@pytest.mark.parametrize(
    ("address", "reached"),
    [
        ("127.0.0.1:80", "10.0.0.9:80"),
        ("127.3.2.1:80", "10.0.0.9:80"),
        ("localhost:80", "10.0.0.9:80"),
        ("0.0.0.0:80", "10.0.0.9:80"),
        ("192.168.1.1:80", "192.168.1.1:80"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_an_address_that_means_the_machine_that_says_it_becomes_that_machine_s(address: str, reached: str) -> None:
    assert as_reached(address, "10.0.0.9", {IP}) == reached
    assert as_reached(address, IP, {IP}) == address


# --- from NetworkZero ---


def test_what_is_heard_is_this_node_s_says_where_it_is_from_and_ends_with_its_lease(desk: Desk) -> None:
    desk.say("x", "a:1", 4)
    advert = desk.directory.own("x")
    assert advert is not None
    assert (advert.address, advert.properties, advert.ttl_s) == ("a:1", {"from": "networkzero"}, config.TTL_S)
    for _ in range(10):
        desk.run(2)
        desk.say("x", "a:1", 4)
    desk.run(3.999)
    assert desk.names() == {"x"}
    desk.run(0.001)
    assert desk.names() == set()
    assert [kind for kind, *_ in desk.events] == ["joined", "left"]
    assert desk.told == []


def test_one_without_an_end_stays_and_one_of_no_time_at_all_goes(desk: Desk) -> None:
    desk.say("x", "a:1", None)
    desk.run(1e7)
    assert desk.names() == {"x"}
    desk.say("x", "b:2", 0)
    assert desk.names() == {"x"}, "the withdrawal of another address"
    desk.say("x", "a:1", 0)
    assert desk.names() == set()
    desk.say("y", "a:1", -1)
    assert desk.names() == set()


def test_the_longest_lease_is_a_day(desk: Desk) -> None:
    desk.say("x", "a:1", 1e300)
    desk.run(config.MAX_TTL_S)
    assert desk.names() == set()


def test_what_a_nwdisco_node_tells_is_not_taken_in(desk: Desk) -> None:
    desk.hear(encode("x", "a:1", 20))
    assert desk.names() == set()


def test_what_somebody_else_has_in_the_directory_is_not_taken_a_second_time_until_that_goes(desk: Desk) -> None:
    desk.put("x", "a:1", node="node-two")
    desk.say("x", "a:1")
    assert desk.directory.own("x") is None
    assert desk.counters["known"] == 1
    desk.remove("x", node="node-two")
    desk.say("x", "a:1")
    assert desk.directory.own("x") is not None


def test_of_two_programs_with_one_name_the_later_has_it_and_their_repetitions_change_nothing(desk: Desk) -> None:
    for _ in range(5):
        desk.say("x", "a:1")
        desk.run(2)
    for _ in range(20):
        desk.say("x", "b:2")
        desk.run(1)
        desk.say("x", "a:1")
        desk.run(1)
    assert desk.events == [("joined", "x", "a:1"), ("changed", "x", "b:2")]
    for _ in range(int(TTL_S)):  # the later one has ended, and the other is still there
        desk.run(2)
        desk.say("x", "a:1")
    assert desk.events[2:] == [("left", "x", "b:2"), ("joined", "x", "a:1")]


def test_a_program_that_was_restarted_has_its_name_at_once(desk: Desk) -> None:
    for address in ("a:1", "b:2", "c:3"):
        desk.say("x", address)
        desk.run(2)
    assert [address for _, _, address in desk.events] == ["a:1", "b:2", "c:3"]
    desk.run(SILENT_S)
    desk.say("x", "a:1")
    assert desk.events[-1] == ("changed", "x", "a:1")


def test_who_was_on_the_wire_before_does_not_outdo_a_later_advert_of_nwdisco(desk: Desk) -> None:
    """As when another node, which had taken it in, tells a program's advert in its place."""
    desk.put("x", "a:1", node="node-two")
    desk.say("x", "a:1")
    desk.run(5)
    desk.put("x", "b:2", node="node-two")
    desk.say("x", "a:1")
    found = desk.directory.get("x")
    assert found is not None
    assert found.address == "b:2"


def test_past_the_limit_a_silent_one_makes_room_and_no_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "MAX_NETWORKZERO_IMPORTS", 3)
    for name in ("a", "b", "c", "d"):
        desk.say(name, "a:1", None)
    assert desk.names() == {"a", "b", "c"}
    assert desk.counters["over_limit"] == 1
    desk.run(SILENT_S + 1)
    for name in ("a", "c", "d", "e"):
        desk.say(name, "a:1", None)
    assert desk.names() == {"a", "c", "d"}


def test_no_more_are_taken_in_a_second_than_the_budget_allows_and_the_rest_when_repeated(desk: Desk) -> None:
    names = [f"n{number}" for number in range(150)]
    for name in names:
        desk.say(name, "a:1")
    assert len(desk.names()) == config.NETWORKZERO_TAKEN_PER_S
    assert desk.counters["over_rate"] == 50
    desk.run(2)
    for name in names:
        desk.say(name, "a:1")
    assert desk.names() == set(names)


@pytest.mark.parametrize("gap_s", [0.02, 0.1])
def test_a_stranger_who_makes_up_names_for_ever_takes_bounded_memory(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, gap_s: float
) -> None:
    monkeypatch.setattr(config, "MAX_NETWORKZERO_IMPORTS", 20)
    for number in range(5000):
        desk.say(f"n{number}", "a:1", 1)
        desk.run(gap_s)
    assert len(desk.imports) <= 20
    assert len(desk.imports._heard_at) <= 41
    assert len(desk.heard._times) <= 40
