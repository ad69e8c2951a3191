"""Claims of moves: who makes them up gets few questions asked, and moves nobody who answers."""

from __future__ import annotations

from nwdisco import config
from nwdisco.core.datagrams import Beat, Change, Entry, Key, Who, decode, encode
from nwdisco.core.lan import PROBE
from tests.test_lan import COOKIE, PEER, Address, Node, tell

LIAR: Address = ("10.0.0.66", 666)
ROOM = 100


def address_of(number: int) -> Address:
    return (f"10.1.0.{number}", 4000)


def room() -> Node:
    """A node that knows a hundred others, each with an advert and a proved address."""
    node = Node()
    for number in range(ROOM):
        node.hear(tell(f"node{number:04}", 10_000, 0, f"a/{number}"), address_of(number))
        node.prove(address_of(number))
    return node


def claim(number: int, place: int = 7) -> Change:
    return Change(f"node{number:04}", 1, place, 0, 1, 1, [])


def asked(node: Node, seconds: float) -> int:
    """How many questions the others get while time passes; they live, and answer."""
    questions, end = 0, node.now + seconds
    while node.lan.due is not None and node.lan.due <= end:
        node.now = max(node.now, node.lan.due)
        node.lan.wake(node.now)
        questions += answered(node)
    node.now = end
    return questions


def answered(node: Node) -> int:
    """How many questions there were; each is answered by who got it."""
    sends = [(decode(send.data), send.to) for send in node.lan.outbox]
    node.lan.outbox.clear()
    questions = 0
    for message, to in sends:
        if isinstance(message, Who) and isinstance(to, tuple):
            assert not message.padding.startswith(PROBE), "it would send its beats to everyone for 30 s"
            questions += 1
            node.lan.receive(encode(Key(message.nonce, COOKIE)), to, node.now + 0.001, direct=True)
    return questions


def test_claims_of_moves_are_looked_into_so_often_a_second_however_many_there_are() -> None:
    node = room()
    node.sent()
    questions = 0
    for tick in range(50):
        for number in range(ROOM):
            node.lan.receive(encode(Beat(f"node{number:04}", 10_001 + tick, 1, 1)), address_of(number), node.now)
            node.lan.receive(encode(claim(number)), LIAR, node.now)
        questions += answered(node) + asked(node, 0.1)
    assert 0 < questions <= (5 + 1) * config.MOVES_PER_S


def test_a_node_that_has_answered_is_not_asked_again_for_the_same_claim() -> None:
    node = room()
    node.sent()
    node.lan.receive(encode(claim(3)), LIAR, node.now)
    node.lan.wake(node.now)
    (question,) = node.sent(address_of(3))
    assert isinstance(question, Who)
    node.now += 0.001
    node.hear(Key(question.nonce, COOKIE), address_of(3), direct=True)
    assert node.wait(1.0, address_of(3)) == []
    assert node.lan.counters["not_moved"] == 1


def test_a_claim_that_there_is_no_question_left_for_moves_nobody_and_who_has_moved_is_believed_later() -> None:
    node = room()
    there: Address = ("10.7.7.7", 4000)
    for number in range(1, ROOM):
        node.lan.receive(encode(claim(number)), LIAR, node.now)
    began = node.now
    node.hear(Change("node0000", 10_001, 1, 0, 1, 2, [Entry("b/0", 2, ":80")]), there)
    node.wait(2 * config.MOVE_S)
    (advert,) = [advert for advert in node.directory.all() if advert.name == "a/0"]
    assert advert.address == f"{address_of(0)[0]}:80"
    for beat in range(10):
        node.hear(Beat("node0000", 10_002 + beat, 2, 2), there)
        node.wait(0.5)
    assert node.now - began < config.TTL_S + 1.0
    (advert,) = [advert for advert in node.directory.all() if advert.name == "a/0"]
    assert advert.address == "10.7.7.7:80"


def test_twenty_that_move_together_have_moved_at_once() -> None:
    node = room()
    for number in range(20):
        node.hear(Change(f"node{number:04}", 10_001, 1, 0, 1, 1, []), (f"10.7.7.{number}", 4000))
    node.wait(config.MOVE_S + 0.01)
    moved = [advert for advert in node.directory.all() if advert.address.startswith("10.7.7.")]
    assert len(moved) == 20


def test_the_other_address_of_a_silent_node_is_probed_within_the_budget_too() -> None:
    node = Node()
    many = 150
    for number in range(many):
        source = address_of(number)
        node.hear(Beat(f"node{number:04}", 10_000, 0, 0), source)
        node.prove(source)
        node.lan.contacts.heard(("10.2.0.1", number + 1), 4000)
        node.hear(Beat(f"node{number:04}", 10_001, 0, 0), ("10.2.0.1", number + 1))
    node.sent()
    questions = 0
    end = node.now + config.TTL_S
    while node.lan.due is not None and node.lan.due <= end:
        node.now = max(node.now, node.lan.due)
        node.lan.wake(node.now)
        questions += _questions(node)
    silent_s = config.TTL_S * (1 - config.SUSPECT_SHARE)
    assert many < questions <= config.PROBES_PER_S * (silent_s + 1)


def _questions(node: Node) -> int:
    return sum(isinstance(message, Who) for message in node.sent())


def test_a_claim_that_nobody_answers_moves_the_node_although_its_place_is_told_once() -> None:
    node = Node()
    node.hear(tell("node-two", 10_000, 0, "a"))
    node.prove()
    node.hear(Change("node-two", 10_001, 1, 0, 1, 1, []), LIAR)
    node.wait(config.MOVE_S + 0.01)
    assert [advert.address for advert in node.directory.all()] == [f"{LIAR[0]}:80"]
    assert node.wait(0.1, PEER) == []
