"""The seal and the room around a datagram, without a network: who gets in, and who does not."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco import config
from nwdisco.core import wire
from nwdisco.core.contacts import Address
from nwdisco.core.sealed import SealedWire, _Session
from nwdisco.core.secret import lan_key, shim_token
from nwdisco.core.wire import OpenWire, Stranger, prefix_of, tag_of

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
BEAT = b'nw1["beat","AbCdEfGh",10000,5,5]'
HEADERS = 42
"""Ethernet, IPv4 and UDP."""


class End:
    """One beacon's wire, with an address."""

    def __init__(self, number: int, key: bytes = KEY, room: str = "") -> None:
        self.address: Address = (f"10.0.0.{number}", 1000 + number)
        self.counters: Counter[str] = Counter()
        self.wire = SealedWire(key, room, f"node{number:04}", self.counters, 0.0)

    def hears(self, data: bytes, source: End, now: float = 0.0) -> bytes | Stranger | None:
        return self.wire.open(data, source.address, now)

    def says(self, data: bytes = BEAT) -> bytes:
        return self.wire.seal(data)

    def answers(self) -> list[bytes]:
        answers = [data for data, _ in self.wire.outbox]
        self.wire.outbox.clear()
        return answers


def meet(a: End, b: End, now: float = 0.0) -> None:
    """Until neither has anything more to say."""
    b.hears(a.says(), a, now)
    for _ in range(4):
        for one, other in ((b, a), (a, b)):
            for data in one.answers():
                other.hears(data, one, now)


@pytest.fixture
def a() -> End:
    return End(1)


@pytest.fixture
def b() -> End:
    return End(2)


# --- rooms ---


def test_a_room_without_a_name_leaves_datagrams_as_they_are() -> None:
    assert OpenWire("").seal(BEAT) == BEAT
    assert OpenWire("").open(BEAT, ("10.0.0.1", 1), 0.0) == BEAT


def test_datagrams_of_a_room_are_opened_in_that_room_alone() -> None:
    rooms = [OpenWire(name) for name in ("", "3b", "3c", "Zimmer ä")]
    for sender in rooms:
        for receiver in rooms:
            found = receiver.open(sender.seal(BEAT), ("10.0.0.1", 1), 0.0)
            assert found == (BEAT if sender is receiver else Stranger(wire.OTHER_ROOM, "10.0.0.1"))


def test_a_beat_in_a_room_is_at_most_100_bytes_on_the_wire() -> None:
    assert len(OpenWire("3b").seal(BEAT)) + HEADERS <= 100


def test_a_sealed_beat_in_a_room_is_at_most_150_bytes_on_the_wire() -> None:
    assert len(End(1, room="3b").says()) + HEADERS <= 150


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", wire.NOT_NWDISCO),
        (b"M-SEARCH * HTTP/1.1", wire.NOT_NWDISCO),
        (b"nw", wire.NOT_NWDISCO),
        (b"nw1", wire.NOT_NWDISCO),
        (b"nw1{", wire.NOT_NWDISCO),
        (b"nw1@abc", wire.NOT_NWDISCO),
        (b"nw2[", wire.OTHER_VERSION),
        (b"nw2#anything", wire.OTHER_VERSION),
        (b"nw10[", wire.OTHER_VERSION),
        (b'nw1@abcdef["beat"]', wire.OTHER_ROOM),
        (b"nw1@abcdef#...", wire.OTHER_ROOM),
    ],
)
def test_who_is_none_of_ours_is_told_apart(data: bytes, reason: str) -> None:
    assert OpenWire("").open(data, ("10.0.0.1", 1), 0.0) == Stranger(reason, "10.0.0.1")
    assert End(1).wire.open(data, ("10.0.0.1", 1), 0.0) == Stranger(reason, "10.0.0.1")


def test_with_and_without_a_secret_are_strangers_to_each_other(a: End) -> None:
    assert OpenWire("").open(a.says(), a.address, 0.0) == Stranger(wire.HAS_SECRET, "10.0.0.1")
    assert a.wire.open(BEAT, ("10.0.0.2", 1), 0.0) == Stranger(wire.HAS_NO_SECRET, "10.0.0.2")


def test_secrets_and_rooms_and_purposes_have_keys_of_their_own() -> None:
    keys = {lan_key(secret, room) for secret in ("x", "y") for room in ("", "3b")}
    assert len(keys) == 4
    assert shim_token("x") != shim_token("y")
    assert len(shim_token("x")) == 24
    assert len(tag_of("any room")) == 6
    assert prefix_of("") == b"nw1"


# --- who gets in ---


def test_two_with_the_secret_hear_each_other_once_they_have_met(a: End, b: End) -> None:
    meet(a, b)
    assert b.hears(a.says(), a) == BEAT
    assert a.hears(b.says(), b) == BEAT


def test_a_node_is_believed_nothing_before_it_answered_a_challenge(a: End, b: End) -> None:
    assert b.hears(a.says(), a) is None
    [challenge] = b.answers()
    assert a.hears(challenge, b) is None
    [response] = a.answers()
    assert b.hears(a.says(), a) is None
    b.hears(response, a)
    assert b.hears(a.says(), a) == BEAT
    assert a.hears(b.says(), b) is None, "b has not answered yet"
    [answer_in_turn] = b.answers()
    a.hears(answer_in_turn, b)
    assert a.hears(b.says(), b) == BEAT
    assert not a.wire.outbox or len(a.answers()) == 1, "nothing goes on for ever"


def test_who_has_another_secret_is_a_stranger_and_gets_no_answer(a: End) -> None:
    other = End(3, OTHER_KEY)
    for data in (
        other.says(),
        other.wire._sealed(b"c", b"1234567812345678"),
        other.wire._sealed(b"r", b"1234567812345678"),
    ):
        assert a.hears(data, other) == Stranger(wire.OTHER_SECRET, "10.0.0.3")
    assert a.answers() == []


def test_the_same_secret_in_another_room_is_a_stranger() -> None:
    here, there = End(1, room="3b"), End(2, room="3c")
    assert here.hears(there.says(), there) == Stranger(wire.OTHER_ROOM, "10.0.0.2")
    disguised = there.says().replace(prefix_of("3c"), prefix_of("3b"))
    assert here.hears(disguised, there) == Stranger(wire.OTHER_SECRET, "10.0.0.2"), "the room is under the seal"


@given(st.integers(0, 200), st.integers(1, 255))
def test_one_bit_changed_anywhere_gets_nothing_in(place: int, change: int) -> None:
    a, b = End(1), End(2)
    meet(a, b)
    data = bytearray(a.says())
    data[place % len(data)] ^= change
    assert not isinstance(b.hears(bytes(data), a), bytes)
    assert b.answers() == []


@given(st.binary(max_size=120))
def test_any_bytes_get_nothing_in_and_no_answer(data: bytes) -> None:
    a, b = End(1), End(2)
    meet(a, b)
    for whole in (data, b"nw1#" + data, a.says()[: len(data)]):
        assert not isinstance(b.hears(whole, a), bytes)
    assert b.answers() == []


# --- what was recorded is worth nothing ---


def test_a_datagram_is_taken_once(a: End, b: End) -> None:
    meet(a, b)
    said = a.says()
    assert b.hears(said, a) == BEAT
    assert b.hears(said, a) is None
    assert b.counters["copies"] == 1


def test_datagrams_that_overtake_each_other_are_all_taken_once(a: End, b: End) -> None:
    meet(a, b)
    said = [a.says() for _ in range(30)]
    for data in reversed(said):
        assert b.hears(data, a) == BEAT
    for data in said:
        assert b.hears(data, a) is None


@given(st.lists(st.integers(1, 300), max_size=200))
def test_no_count_is_taken_twice_and_none_that_is_new_is_refused(counts: list[int]) -> None:
    session, taken = _Session(100, 0.0), set(range(101))
    for count in counts:
        is_new = count not in taken and count > session.highest - 64
        assert session.take(count) == is_new
        taken.add(count)


def test_what_was_recorded_before_the_receiver_restarted_is_not_believed(a: End, b: End) -> None:
    meet(a, b)
    recorded = [a.says() for _ in range(5)]
    restarted = End(2)
    for data in recorded:
        assert restarted.hears(data, a) is None
    [challenge] = restarted.answers()
    assert challenge  # which only a node that lives can answer
    assert restarted.hears(recorded[0], a, 100.0) is None


def test_what_was_recorded_of_a_node_that_is_gone_is_not_believed_whatever_else_lives_at_its_address(
    a: End, b: End
) -> None:
    meet(a, b)
    unheard = [a.says() for _ in range(5)]
    successor = End(7)
    successor.address = a.address
    later = config.SESSION_SILENT_S + 1.0
    for data in unheard:
        assert b.hears(data, a, later) is None
        for challenge in b.answers():
            successor.hears(challenge, b, later)
        for response in successor.answers():
            b.hears(response, successor, later)
    assert b.hears(unheard[-1], a, later) is None


def test_a_recorded_response_answers_no_other_challenge(a: End, b: End) -> None:
    b.hears(a.says(), a)
    a.hears(b.answers()[0], b)
    response = a.answers()[0]
    again = End(2)
    assert again.hears(a.says(), a) is None
    again.hears(response, a)
    assert again.hears(a.says(), a) is None


def test_a_session_is_proved_again_now_and_then_so_that_held_back_datagrams_run_out(a: End, b: End) -> None:
    meet(a, b)
    held_back = [a.says() for _ in range(400)]
    now = 0.0
    while now < config.SESSION_S + config.SESSION_SILENT_S + 1.0:
        now += 0.5
        believed = b.hears(held_back.pop(0), a, now)
    assert believed is None, "nobody has answered"
    meet(a, b, now)
    assert b.hears(a.says(), a, now) == BEAT


def test_a_node_that_answers_in_time_is_never_doubted(a: End, b: End) -> None:
    meet(a, b)
    for tick in range(400):
        assert b.hears(a.says(), a, tick * 0.5) == BEAT
        for challenge in b.answers():
            a.hears(challenge, b, tick * 0.5)
        for response in a.answers():
            b.hears(response, a, tick * 0.5)


# --- bounds ---


def test_no_answer_is_longer_than_what_it_answers(a: End, b: End) -> None:
    said = a.says(b"nw1" + b'["bye","AbCdEfGh",1]')
    b.hears(said, a)
    [challenge] = b.answers()
    assert len(challenge) <= len(said)
    for _ in range(1000):
        a.says()
    a.hears(challenge, b)
    [response] = a.answers()
    assert len(response) <= len(challenge)
    b.hears(response, a)
    assert sum(map(len, b.answers())) <= len(response)


def test_challenges_are_bounded_whoever_replays_whatever(a: End) -> None:
    for number in range(3000):
        other = End(number)
        a.hears(other.says(), other, now=0.0001 * number)
    assert len(a.answers()) <= 2 * config.CHALLENGES_PER_S
    assert len(a.wire._challenges) <= config.MAX_NODES


def test_nodes_past_the_limit_are_not_believed_and_silent_ones_make_room(
    a: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "MAX_NODES", 2)
    others = [End(number) for number in (2, 3, 4)]
    for other in others:
        meet(other, a)
    heard = [a.hears(other.says(), other) for other in others]
    assert heard == [BEAT, BEAT, None]
    later = config.SESSION_SILENT_S + 1.0
    meet(others[2], a, later)
    assert a.hears(others[2].says(), others[2], later) == BEAT
