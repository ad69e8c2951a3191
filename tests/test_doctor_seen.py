"""Whom the doctor hears, whom it takes for a neighbour, and whom it asks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco import config
from nwdisco.core.diagnosis import Neighbour, diagnose
from nwdisco.doctor.seen import MOST_ALONE, MOST_AT_ONE_IP, Seen
from tests.test_diagnosis import WELL, ips


def beat(node: str) -> bytes:
    return f'nw1["beat","{node}",10412,7,2]'.encode()


def bye(node: str) -> bytes:
    return f'nw1["bye","{node}",10413]'.encode()


def test_a_node_heard_from_two_addresses_is_one_machine() -> None:
    seen = Seen()
    seen.heard(beat("node-one"), ("10.0.0.2", 5), "multicast")
    seen.answered(("10.0.1.2", 5), "broadcast")
    assert len(seen.neighbours()) == 2
    seen.heard(beat("node-one"), ("10.0.1.2", 5), "broadcast")
    assert seen.neighbours() == (Neighbour(("10.0.0.2", "10.0.1.2"), ("multicast", "broadcast"), ("broadcast",)),)
    seen.heard(beat("node-two"), ("10.0.0.2", 6), "multicast")
    assert len(seen.neighbours()) == 1
    assert sorted(seen.ips()) == ["10.0.0.2", "10.0.1.2"]


def test_a_machine_is_gone_when_its_last_node_has_said_goodbye() -> None:
    seen = Seen()
    seen.heard(beat("node-one"), ("10.0.0.2", 5), "multicast")
    seen.heard(beat("node-two"), ("10.0.0.2", 6), "multicast")
    seen.heard(bye("node-one"), ("10.0.0.2", 5), "multicast")
    assert len(seen.neighbours()) == 1
    seen.heard(bye("node-two"), ("10.0.0.2", 6), "multicast")
    assert seen.neighbours() == ()


def test_two_full_machines_that_are_one_are_gone_when_all_their_nodes_have_said_goodbye() -> None:
    seen = Seen()
    nodes = [f"node{number:04}" for number in range(2 * config.MAX_NODES_PER_MACHINE)]
    for number, node in enumerate(nodes):
        seen.heard(beat(node), (f"10.0.{number % 2}.2", number), "multicast")
    seen.heard(beat(nodes[0]), ("10.0.1.2", 0), "multicast")
    assert len(seen.neighbours()) == 1
    for node in nodes:
        seen.heard(beat(node), ("10.0.0.2", 0), "multicast")
    for node in nodes:
        assert seen.neighbours() != ()
        seen.heard(bye(node), ("10.0.0.2", 0), "multicast")
    assert seen.neighbours() == ()


def test_a_goodbye_makes_nobody_a_neighbour_so_that_who_is_alone_is_told_so() -> None:
    seen = Seen()
    seen.heard(bye("node-one"), ("10.0.0.2", 5), "multicast")
    assert seen.neighbours() == ()
    assert [one.code for one in diagnose(replace(WELL, neighbours=seen.neighbours()))] == ["alone"]


@pytest.mark.parametrize(
    "data",
    [
        beat("node-one"),
        b'nw1@aB3_-9["beat","node-one",10412,7,2]',
        b'nw1#0123456789abcdef node-one 000000000001 d["beat","node-one",10412,7,2]',
        b'nw1@aB3_-9#0123456789abcdef node-one 000000000001 d["change","node-one",1,0,0,6,7,[]]',
    ],
)
def test_a_node_is_known_by_its_beats_and_changes_in_any_room_open_or_sealed(data: bytes) -> None:
    seen = Seen()
    seen.heard(data, ("10.0.0.2", 5), "multicast")
    assert seen.to_ask(32) == [("10.0.0.2", 5)]


def test_another_doctor_s_question_makes_nobody_a_neighbour() -> None:
    seen = Seen()
    for data in (b'nw1["who","Hn2xR0"]', b'nw1#0123456789abcdef node-one 000000000001 d["who","Hn2xR0"]', b"hello"):
        seen.heard(data, ("10.0.0.2", 5), "multicast")
    assert seen.is_empty()
    assert seen.neighbours() == ()


def test_it_looks_on_while_somebody_has_not_shown_himself_by_each_way() -> None:
    seen = Seen()
    seen.known("node-old", ("10.0.0.9", 9))
    assert not seen.is_puzzling({"multicast"}), "known to the beacon only: may have gone"
    seen.heard(beat("node-one"), ("10.0.0.2", 5), "multicast")
    assert seen.is_puzzling({"multicast"})
    seen.answered(("10.0.0.2", 5), "multicast")
    assert not seen.is_puzzling({"multicast"})
    assert seen.is_puzzling({"multicast", "broadcast"})


# --- whom it asks alone ---


def test_who_has_answered_nothing_is_asked_alone_until_he_answers() -> None:
    seen = Seen()
    for node, ip in (("node-one", "10.0.0.2"), ("node-two", "10.0.0.3"), ("node-six", "10.0.0.4")):
        for _ in range(3):
            seen.heard(beat(node), (ip, 5), "multicast")
    seen.answered(("10.0.0.3", 5), "broadcast")
    assert seen.to_ask(32) == [("10.0.0.2", 5), ("10.0.0.4", 5)]
    seen.answered(("10.0.0.4", 5), "unicast")
    assert seen.to_ask(32) == [("10.0.0.2", 5)]


def test_nobody_is_asked_who_was_not_heard() -> None:
    seen = Seen()
    seen.known("node-one", ("10.0.0.2", 5))
    assert seen.to_ask(32) == []
    seen.heard(beat("node-two"), ("10.0.0.2", 6), "multicast")
    assert seen.to_ask(32) == [("10.0.0.2", 6)], "not at the port of one that may have gone"


def test_who_was_forged_is_asked_with_no_more_bytes_than_came_in_his_name() -> None:
    """A node's shortest beat is as long as a question; forgers may do with less."""
    seen = Seen()
    sent = b'nw1["beat","node%04d"'
    for number in range(64):
        seen.heard(sent % number, ("10.0.0.9", 1000 + number), "multicast")
    rounds = [len(seen.to_ask(32)) for _ in range(20)]
    assert max(rounds) == MOST_AT_ONE_IP
    assert sum(rounds) == 64 * len(sent % 0) // 32


def test_of_thousands_that_were_forged_a_few_are_asked() -> None:
    seen = Seen()
    for number in range(20_000):
        seen.heard(beat(f"n{number:07}"), (f"10.0.{number % 64}.{number // 64 % 64}", number), "multicast")
    assert len(seen.to_ask(32)) == MOST_ALONE


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["beat", "bye", "ask"]), ips, st.sampled_from(["node-one", "node-two"]), st.integers(0, 40)
        ),
        max_size=40,
    )
)
def test_whatever_is_heard_no_address_is_sent_more_than_came_from_it(arrived: list[tuple[str, str, str, int]]) -> None:
    """Nor is what one address said spent on another, where one node was heard from both."""
    seen, came, went = Seen(), Counter[str](), Counter[str]()
    for kind, ip, node, longer in arrived:
        if kind == "ask":
            for asked, _ in seen.to_ask(50):
                went[asked] += 50
        else:
            data = (beat if kind == "beat" else bye)(node) + b" " * longer
            came[ip] += len(data)
            seen.heard(data, (ip, 5), "multicast")
        assert went <= came


@given(
    st.lists(
        st.tuples(st.binary(max_size=60) | st.sampled_from([beat("node-one"), beat("node-two")]), ips), max_size=20
    )
)
def test_whatever_is_heard_raises_nothing(arrived: list[tuple[bytes, str]]) -> None:
    seen = Seen()
    for data, ip in arrived:
        seen.heard(data, (ip, 1), "multicast")
    assert sorted(ip for one in seen.neighbours() for ip in one.ips) == sorted(seen.ips())
