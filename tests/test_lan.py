"""One node of the LAN on its own, fed by hand: it counts what it drops, holds no more than it may, and believes little."""

from __future__ import annotations

from random import Random

import pytest

from nwdisco import config
from nwdisco.core.advert import Advert
from nwdisco.core.datagrams import Ask, Beat, Bye, Change, Entry, Key, Message, Who, decode, encode
from nwdisco.core.directory import Directory
from nwdisco.core.lan import ASKED_S, BIG_ROOM_NODES, Lan
from nwdisco.core.peers import LATE_S
from nwdisco.core.telling import EVERYONE, MAX_ANSWERS_EACH, MULTICAST

Address = tuple[str, int]
PEER: Address = ("10.0.0.2", 40000)
STRANGER: Address = ("10.66.66.66", 5555)
NONCE = "abcdef"
COOKIE = "fedcba"


class Node:
    """A Lan with a clock that stands still until told, and what it sent."""

    def __init__(self) -> None:
        self.now = 100.0
        self.directory = Directory("node-own")
        self.lan = Lan(self.directory, Random(1), self.now)
        self.directory.on_own.append(lambda name, advert: self.lan.own_change(name, advert, self.now))

    def hear(self, message: Message | bytes, source: Address = PEER, direct: bool = False) -> list[Message]:
        """A datagram arrives; what is sent back to where it came from."""
        data = message if isinstance(message, bytes) else encode(message)
        self.lan.receive(data, source, self.now, direct)
        return self.sent(source)

    def sent(self, to: Address | str | None = None) -> list[Message]:
        """What was sent since last looked (to one address): the rest is thrown away."""
        sends = list(self.lan.outbox)
        self.lan.outbox.clear()
        return [decode(send.data) for send in sends if to is None or send.to == to]

    def wait(self, seconds: float, to: Address | str | None = None) -> list[Message]:
        """Time passes, with every wake-up that is wanted in it; what is sent meanwhile."""
        end, sent, wakes = self.now + seconds, self.sent(to), 0
        while self.lan.due is not None and self.lan.due <= end:
            self.now = max(self.now, self.lan.due)
            self.lan.wake(self.now)
            sent += self.sent(to)
            wakes += 1
            assert wakes < 100_000, f"it wakes up for ever at {self.now}"
        self.now = end
        return sent

    def advertise(self, name: str, properties: dict[str, str] | None = None) -> None:
        self.directory.put(Advert(name, "10.0.0.1:80", properties or {}, 5.0, "node-own", "program", self.now))

    def names_of(self, node: str) -> list[str]:
        return sorted(advert.name for advert in self.directory.held_by(node))

    def prove(self, source: Address = PEER) -> str:
        """The address asks as it should; the proof that it has from us."""
        (key,) = [m for m in self.hear(Who(NONCE, " " * 20), source, direct=True) if isinstance(m, Key)]
        self.hear(Ask(key.cookie, 0, 0), source, direct=True)
        return key.cookie


def entries(*names: str, version: int = 1) -> list[Entry]:
    return [Entry(name, version + number, ":80") for number, name in enumerate(names)]


def tell(node: str, seq: int, since: int, *names: str) -> Change:
    """A change that adds names, one a version."""
    return Change(node, seq, 0, 0, since, since + len(names), entries(*names, version=since + 1))


def test_what_is_dropped_is_counted_by_reason() -> None:
    node = Node()
    node.hear(b"hello")
    node.hear(b"nw1[broken")
    node.hear(Key("wrong1", COOKIE))
    node.hear(Ask("wrong2", 0, 0))
    node.hear(Beat("node-two", 10_000, 0, 0), STRANGER)
    for _ in range(9):
        node.hear(Who(NONCE), STRANGER, direct=True)
        node.now += 1
    node.hear(Bye("node-two", 10_001), STRANGER)
    node.hear(Beat("node-two", 9_999, 0, 0), STRANGER)
    counters = node.lan.counters
    assert {name: counters[name] for name in ("foreign", "malformed", "unproved", "late")} == {
        "foreign": 1,
        "malformed": 1,
        "unproved": 2,
        "late": 1,
    }
    assert counters["withheld"] > 0


def test_what_we_sent_to_everyone_means_nothing_to_ourselves() -> None:
    node = Node()
    node.lan.start(node.now)
    node.advertise("printer/a")
    for message in node.wait(5):
        assert node.hear(message, ("10.0.0.1", 40000)) == []
    assert len(node.lan.peers) == 0
    assert node.lan.counters["received"] == 0


def test_the_copy_by_broadcast_is_dropped_and_a_repeated_question_is_not() -> None:
    node = Node()
    node.hear(Beat("node-two", 10_000, 0, 0))
    node.hear(Beat("node-two", 10_000, 0, 0))
    assert node.lan.counters["copies"] == 1
    who = Who(NONCE, " " * 70)
    answers = [len(node.hear(who)), len(node.hear(who))]
    node.now += 0.05
    answers.append(len(node.hear(who)))
    assert answers == [1, 0, 1]


def test_a_newcomer_that_has_asked_us_is_not_answered_again_until_later() -> None:
    node = Node()
    node.prove()
    node.now += 0.1
    assert node.hear(Who(NONCE, " " * 70)) == []
    node.now += ASKED_S
    assert len(node.hear(Who(NONCE, " " * 70))) == 1


def test_in_a_big_room_only_who_has_adverts_answers_a_newcomer() -> None:
    node = Node()
    for number in range(BIG_ROOM_NODES):
        node.hear(Beat(f"node{number:04}", 10_000, 0, 0), ("10.1.0.0", number + 1))
    node.hear(Who(NONCE, " " * 70), STRANGER)
    assert node.wait(config.ANSWER_SPREAD_LIMIT_S, STRANGER) == []
    node.advertise("printer/a")
    node.hear(Who(NONCE, " " * 70), STRANGER)
    assert [type(message) for message in node.wait(config.ANSWER_SPREAD_LIMIT_S, STRANGER)] == [Key]


def test_what_is_missing_is_asked_for_once_the_stream_pauses_and_all_gaps_at_once() -> None:
    node = Node()
    cookie = node.lan.contacts.proof_for(PEER)
    node.hear(tell("node-two", 10_000, 0, "a"))
    node.hear(Key(cookie, COOKIE), direct=True)
    node.hear(tell("node-two", 10_002, 2, "c"))
    assert node.hear(tell("node-two", 10_004, 4, "e")) == [], "it may be just behind"
    assert node.wait(0.05, PEER) == [Ask(COOKIE, 1, 2), Ask(COOKIE, 3, 4)]
    node.hear(tell("node-two", 10_005, 3, "d"))
    node.hear(tell("node-two", 10_006, 1, "b"))
    assert node.names_of("node-two") == ["a", "b", "c", "d", "e"]
    assert node.wait(2, PEER) == []


def test_an_answer_under_way_is_not_begun_again_by_a_question_for_a_part_of_it() -> None:
    node = Node()
    for number in range(3000):
        node.advertise(f"lamp/{number:04}", {"text": "x" * 100})
    node.wait(5)
    cookie = node.prove()
    node.sent()
    told: list[int] = []
    while node.lan._teller._answers:
        told += [m.since for m in node.hear(Ask(cookie, 2999, 3000), direct=True) if isinstance(m, Change)]
        told += [m.since for m in node.wait(0.01, PEER) if isinstance(m, Change)]
    assert len(told) > 100
    assert told == sorted(set(told)), "parts were sent twice"


def test_one_address_waits_for_so_many_answers_at_a_time_at_most() -> None:
    node = Node()
    for number in range(3000):
        node.advertise(f"lamp/{number:04}", {"text": "x" * 100})
    node.wait(5)
    cookie = node.prove()
    for number in range(100):
        node.hear(Ask(cookie, 0, number + 1), direct=True)
    assert len(node.lan._teller._answers) <= MAX_ANSWERS_EACH


def test_a_removal_is_heeded_by_who_holds_the_advert_although_the_change_begins_at_nothing() -> None:
    node, other = Node(), Node()
    other.directory = Directory("node-two")
    other.lan = Lan(other.directory, Random(2), other.now)
    node.advertise("a")
    (change,) = node.sent(MULTICAST)
    other.hear(change, ("10.0.0.1", 40000))
    assert other.names_of("node-own") == ["a"]
    node.directory.remove("program", "a")
    node.sent()  # lost
    (repeated, *_) = node.wait(0.15, EVERYONE)
    assert isinstance(repeated, Change)
    assert repeated.since == 0
    other.hear(repeated, ("10.0.0.1", 40000))
    assert other.names_of("node-own") == []


def test_a_late_old_change_does_not_bring_back_what_was_removed() -> None:
    node = Node()
    old = tell("node-two", 10_000, 0, "a")
    node.hear(old)
    node.hear(Change("node-two", 10_001, 0, 0, 1, 2, [Entry("a", 2)]))
    node.hear(old)
    assert node.names_of("node-two") == []
    node.hear(Beat("node-two", 10_002, 2, 0))
    node.hear(Change("node-two", 10_000, 0, 0, 0, 3, [Entry("a", 1, ":80"), Entry("b", 3, ":80")]))
    assert node.names_of("node-two") == ["b"]


def test_a_beat_that_tells_of_no_adverts_empties_the_node_and_a_late_one_does_not() -> None:
    node = Node()
    node.hear(tell("node-two", 10_001, 0, "a"))
    node.hear(Beat("node-two", 10_000, 0, 0))
    assert node.names_of("node-two") == ["a"]
    node.hear(tell("node-two", 10_003, 4, "b"))
    node.hear(Beat("node-two", 10_004, 6, 0))
    assert node.names_of("node-two") == []
    assert node.lan.peers._early == 0
    assert not node.lan.peers.any_behind()


def test_a_restarted_beacon_at_the_same_address_does_not_keep_its_former_self_alive() -> None:
    node = Node()
    node.hear(tell("node-two", 10_000, 0, "old"))
    cookie = node.lan.contacts.proof_for(PEER)
    for beat in range(10):
        node.hear(Beat("node-new", 10_000 + beat, 0, 0))
        for message in node.wait(0.7, PEER):
            if isinstance(message, Who):
                node.hear(Key(message.nonce, COOKIE), direct=True)
                assert message.nonce == cookie
    assert node.directory.all() == []
    assert [peer.node for peer in node.lan.peers] == ["node-new"]


def test_a_forged_huge_sequence_number_does_not_get_a_live_node_dropped() -> None:
    node = Node()
    node.hear(tell("node-two", 10_000, 0, "a"))
    node.hear(Beat("node-two", 2**53, 1, 1))
    left: list[str] = []
    node.directory.on_event.append(lambda event: left.append(event.kind))
    for beat in range(20):
        node.hear(Beat("node-two", 10_001 + beat, 1, 1))
        for message in node.wait(config.BEAT_S, PEER):
            if isinstance(message, Who):
                node.hear(Key(message.nonce, COOKIE), direct=True)
    assert left == []


def test_a_forged_version_is_mended_by_the_nodes_own_next_beats() -> None:
    node = Node()
    node.hear(tell("node-two", 10_000, 0, "a"))
    node.hear(Change("node-two", 10_001, 0, 0, 0, 2**53, [Entry("forged", 7, ":80")]))
    assert node.names_of("node-two") == ["a", "forged"]
    node.hear(Beat("node-two", 10_002, 1, 1))
    assert node.lan.peers.any_behind()
    node.hear(tell("node-two", 10_003, 0, "a"))
    assert node.names_of("node-two") == ["a"]
    node.hear(Beat("node-two", 10_004, 2**53, 1))
    assert node.lan.peers.any_behind()
    node.hear(Beat("node-two", 10_005, 1, 1))
    assert not node.lan.peers.any_behind()


def test_a_forged_goodbye_shuts_a_node_out_for_a_while_only() -> None:
    node = Node()
    node.hear(tell("node-two", 10_000, 0, "a"))
    node.hear(Bye("node-two", 2**53))
    node.hear(tell("node-two", 10_001, 0, "a"))
    assert node.names_of("node-two") == []
    node.wait(LATE_S)
    node.hear(tell("node-two", 10_002, 0, "a"))
    assert node.names_of("node-two") == ["a"]


def test_a_short_life_that_begins_between_two_looks_at_its_node_ends_in_its_own_time() -> None:
    node = Node()
    node.hear(Beat("node-two", 10_000, 0, 0))
    node.wait(0.1)
    node.hear(Change("node-two", 10_001, 0, 0, 0, 1, [Entry("a", 1, ":80", ttl_s=1.0)]))
    node.wait(0.99)
    assert node.names_of("node-two") == ["a"]
    node.wait(0.02)
    assert node.names_of("node-two") == []


def test_a_goodbye_from_another_address_is_not_believed() -> None:
    node = Node()
    node.hear(tell("node-two", 10_000, 0, "a"))
    node.hear(Bye("node-two", 10_001), STRANGER)
    assert node.names_of("node-two") == ["a"]


def test_no_key_answers_a_key_and_no_question_answers_a_question() -> None:
    node = Node()
    assert [type(m) for m in node.hear(Who(NONCE, " " * 20), direct=True)] == [Key]
    node.hear(Beat("node-two", 10_000, 0, 0))
    cookie = node.lan.contacts.proof_for(PEER)
    assert node.hear(Key(cookie, COOKIE), direct=True) == []
    assert node.wait(2, PEER) == []


def test_a_chase_that_nobody_answers_ends_and_the_next_beat_begins_another() -> None:
    node = Node()
    node.hear(Beat("node-two", 10_000, 5, 5))
    node.wait(2.5, PEER)
    node.lan.contacts.heard(PEER, 4000)
    assert node.wait(0.3, PEER) == []
    asked = node.hear(Beat("node-two", 10_001, 5, 5))
    assert [type(message) for message in asked] == [Who]


def test_a_node_without_peers_or_adverts_wakes_for_its_beats_alone() -> None:
    node = Node()
    node.lan.start(node.now)
    node.wait(2)
    beats = node.wait(100, MULTICAST) + node.wait(0, EVERYONE)
    assert 30 < len(beats) < 80
    assert all(isinstance(beat, Beat) for beat in beats)
    assert len(node.lan._timers._heap) == 1


def test_when_all_peers_are_gone_nothing_of_them_is_kept_but_their_last_sequence_numbers() -> None:
    node = Node()
    for number in range(50):
        name = f"node{number:04}"
        source = ("10.1.0.0", number + 1)
        node.hear(tell(name, 10_000, 0, f"a/{number}"), source)
        node.hear(tell(name, 10_001, 5, f"b/{number}"), source)
    node.wait(20)
    assert len(node.lan.peers) == 0
    assert len(node.directory) == 0
    assert node.lan.peers._early == 0
    assert node.lan.peers._by_address == {}
    assert node.lan._timers._heap == []


def test_a_flood_of_nodes_addresses_and_early_changes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "MAX_NODES", 20)
    monkeypatch.setattr(config, "MAX_CONTACTS", 40)
    monkeypatch.setattr(config, "MAX_PENDING_CHANGES", 30)
    node = Node()
    node.hear(tell("node-two", 10_000, 0, "a"))
    node.prove()
    for number in range(500):
        source = ("10.1.0.0", number + 1)
        node.hear(tell(f"node{number:04}", 10_000, 7 + number, "x"), source)
        node.hear(tell("node0001", 10_000, 700 + 2 * number, "x"), ("10.1.0.0", 2))
        node.hear(Who(NONCE), source)
    assert len(node.lan.peers) == 20
    assert len(node.lan.contacts) == 40
    assert node.lan.peers._early == sum(len(peer.early) for peer in node.lan.peers) == 15, "one machine leaves as many"
    assert node.lan.counters["over_limit"] > 0
    contact = node.lan.contacts.get(PEER)
    assert contact is not None, "a peer's proof was forgotten, and it could not be probed"
    assert contact.proved
    node.wait(30)
    assert len(node.lan.peers) == 0
    assert node.lan.peers._early == 0


def test_one_node_has_no_more_adverts_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "MAX_ADVERTS_PER_NODE", 3)
    node = Node()
    node.hear(tell("node-two", 10_000, 0, "a", "b", "c", "d", "e"))
    assert node.names_of("node-two") == ["a", "b", "c"]
    assert node.lan.counters["over_limit"] == 2
    node.hear(Change("node-two", 10_001, 0, 0, 5, 6, [Entry("a", 6, ":81")]))
    assert node.directory.all()[0].address == "10.0.0.2:81", "what it has may change"
