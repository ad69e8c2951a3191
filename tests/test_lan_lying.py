"""Nodes that lie, as one node of the LAN hears them: an advert is its node's own (no secret, no forged sources)."""

from __future__ import annotations

import pytest

from nwdisco import config
from nwdisco.core.datagrams import Ask, Beat, Bye, Change, Entry, Key, Message, Who
from tests.test_lan import COOKIE, PEER, Node, tell

LIAR = ("10.0.0.66", 666)


def listed(node: Node) -> list[tuple[str, str]]:
    return [(advert.name, advert.address) for advert in node.directory.all()]


@pytest.fixture
def believer() -> Node:
    """A node that knows another, with an advert, at PEER."""
    node = Node()
    node.hear(tell("node-two", 10_000, 0, "a"))
    node.prove()
    assert listed(node) == [("a", f"{PEER[0]}:80")]
    return node


@pytest.mark.parametrize(
    "lie",
    [
        Bye("node-two", 20_000),
        Change("node-two", 20_000, 0, 0, 1, 2, [Entry("a", 2)]),
        Change("node-two", 20_000, 0, 0, 1, 2, [Entry("a", 2, "10.0.0.66:1")]),
        Change("node-two", 20_000, 0, 5, 0, 9, []),
        Beat("node-two", 20_000, 9, 0),
    ],
    ids=["bye", "removal", "another address", "another journal", "beat without adverts"],
)
def test_nobody_removes_or_changes_what_another_node_advertises(believer: Node, lie: Message) -> None:
    believer.hear(lie, LIAR)
    believer.wait(0.1)
    assert listed(believer) == [("a", f"{PEER[0]}:80")]
    believer.hear(Beat("node-two", 10_001, 1, 1))
    assert listed(believer) == [("a", f"{PEER[0]}:80")], "and its own word still counts"


def test_nobody_keeps_alive_what_another_node_advertised(believer: Node) -> None:
    for tick in range(29):
        believer.hear(Beat("node-two", 20_000 + tick, 1, 1), LIAR)
        believer.wait(0.1)
    assert listed(believer) == [("a", f"{PEER[0]}:80")]
    believer.wait(3.0)
    assert listed(believer) == []


def test_nobody_moves_a_node_that_answers_where_it_was(believer: Node) -> None:
    believer.hear(Change("node-two", 20_000, 7, 0, 1, 2, [Entry("b", 2, ":80")]), LIAR)
    for message in believer.sent(PEER) + believer.wait(0.2, PEER):
        if isinstance(message, Who):
            believer.hear(Key(message.nonce, COOKIE), PEER, direct=True)
    believer.wait(1.0)
    assert listed(believer) == [("a", f"{PEER[0]}:80")]
    assert believer.lan.counters["not_moved"] == 1


def test_a_node_that_does_not_answer_where_it_was_has_moved(believer: Node) -> None:
    believer.hear(Change("node-two", 20_000, 7, 0, 1, 2, [Entry("b", 2, ":80")]), LIAR)
    believer.wait(0.5)
    believer.hear(Change("node-two", 20_001, 7, 0, 1, 2, [Entry("b", 2, ":80")]), LIAR)
    assert listed(believer) == [("a", f"{LIAR[0]}:80"), ("b", f"{LIAR[0]}:80")]


def test_who_is_heard_first_in_a_nodes_name_hides_it_for_as_long_as_it_speaks_and_little_longer() -> None:
    """As docs/security.md says. Nothing tells the two apart without a secret."""
    node = Node()

    def speak(seconds: float, liar_too: bool) -> bool:
        """Both beat each second, and answer what they are asked; whether the true one's advert is seen at the end."""
        for _ in range(round(seconds)):
            if liar_too:
                node.hear(Beat("node-two", 20_000 + int(node.now), 0, 0), LIAR)
            node.hear(Beat("node-two", 10_000 + int(node.now), 1, 1))
            for source in (LIAR, PEER) if liar_too else (PEER,):
                for message in node.wait(0.5, source):
                    if isinstance(message, Who):
                        node.hear(Key(message.nonce, COOKIE), source, direct=True)
                    elif isinstance(message, Ask) and source == PEER:
                        node.hear(tell("node-two", 10_000 + int(node.now), 0, "a"))
            node.wait(0.0 if liar_too else 0.5)
        return listed(node) == [("a", f"{PEER[0]}:80")]

    assert not speak(20, liar_too=True)
    assert node.lan.counters["elsewhere"] == 20
    assert speak(6, liar_too=False)
    assert speak(20, liar_too=True), "and who knows it goes on seeing it"


def test_one_machine_has_no_more_adverts_than_it_may_however_many_nodes_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "MAX_ADVERTS_PER_MACHINE", 5)
    node = Node()
    for number in range(3):
        node.hear(tell(f"liar{number:04}", 10_000, 0, *(f"{number}{name}" for name in "abc")), (LIAR[0], 1000 + number))
    assert [len(node.names_of(f"liar{number:04}")) for number in range(3)] == [3, 2, 0]
    node.hear(tell("node-two", 10_000, 0, "a"))
    assert "a" in node.names_of("node-two"), "others are not shut out"


def test_one_machine_has_no_more_nodes_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "MAX_NODES_PER_MACHINE", 5)
    node = Node()
    for number in range(100):
        node.hear(tell(f"liar{number:04}", 10_000, 0, f"x{number}"), ("10.0.0.66", 1000 + number))
    assert len(node.lan.peers) == 5
    node.hear(tell("node-two", 10_000, 0, "a"))
    assert "a" in node.names_of("node-two"), "others are not shut out"
    node.wait(30)
    node.hear(tell("liar0099", 10_000, 0, "x99"), ("10.0.0.66", 1099))
    assert len(node.lan.peers) == 1, "those that are gone count no more"
