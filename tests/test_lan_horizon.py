"""Removals that a node tells of no longer: whoever missed them reads its journal again, and believes nothing older than that."""

from __future__ import annotations

import pytest

from nwdisco import config
from nwdisco.core.datagrams import Change, Entry, Key, Who
from tests.simulator import World
from tests.test_lan import COOKIE, PEER, Node

SEQ = 10_000


def change(seq: int, horizon: int, since: int, until: int, *names: str) -> Change:
    """One that adds names, all at its last version."""
    return Change("node-two", SEQ + seq, 0, horizon, since, until, [Entry(name, until, ":80") for name in names])


def test_what_was_kept_aside_before_is_asked_for_again() -> None:
    node = Node()
    node.hear(change(1, 0, 0, 10, "stays"))
    node.hear(change(2, 0, 20, 30, "goes"))  # what is between has not come
    node.hear(change(3, 40, 49, 50, "new"))  # "goes" went at 40, and nobody tells of that any more
    node.hear(change(4, 40, 0, 20, "stays"))
    node.hear(change(5, 40, 30, 49))
    peer = node.lan.peers.get("node-two")
    assert peer is not None
    assert node.lan.peers.gaps(peer, 16) == [(20, 30)]
    node.hear(change(6, 40, 20, 30))
    node.wait(0.1)
    assert node.names_of("node-two") == ["new", "stays"]


def test_what_was_sent_before_and_comes_later_is_not_taken_in() -> None:
    node = Node()
    node.hear(change(1, 0, 0, 10, "stays"))
    node.hear(change(3, 40, 49, 50, "new"))
    node.hear(change(2, 0, 0, 30, "goes"))
    assert node.names_of("node-two") == ["stays"]
    node.hear(change(4, 40, 0, 49, "stays"))
    node.wait(0.1)
    assert node.names_of("node-two") == ["new", "stays"]


def test_a_horizon_that_was_forged_is_void_once_the_node_itself_has_answered() -> None:
    node = Node()
    node.hear(change(1, 0, 0, 10, "stays"))
    node.hear(change(10**9, 10**9, 10**9, 10**9 + 1, "false"))
    node.hear(change(2, 0, 10, 11, "more"))
    assert node.names_of("node-two") == ["stays"]
    node.hear(Key(node.lan.contacts.proof_for(PEER), COOKIE), direct=True)
    node.hear(change(3, 0, 0, 11, "stays", "more"))
    assert node.names_of("node-two") == ["more", "stays"]
    assert any(isinstance(message, Who) for message in node.wait(30, PEER)), "it is asked before long"


@pytest.mark.parametrize("seed", range(3))
def test_who_reads_a_big_journal_while_it_is_emptied_lists_what_is_there_in_the_end(seed: int) -> None:
    world = World(seed, loss=0.3)
    full = world.host()
    world.run(1)
    many = [f"s/{number:05}" for number in range(config.MAX_TOMBSTONES + 1000)]
    for name in many:
        full.advertise(name)
    world.run(4)
    reader = world.host()
    world.run(world.random.uniform(0.05, 0.9))
    for name in many:
        full.directory.remove("program", name)
    full.advertise("left/over")
    world.run(20)
    assert reader.names() == ["left/over"]
