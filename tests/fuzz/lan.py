"""A whole node of the LAN, fed datagrams from a peer that it knows and from strangers, with time passing in between."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from random import Random

from nwdisco import config
from nwdisco.core import datagrams
from nwdisco.core.advert import Advert
from nwdisco.core.contacts import Address
from nwdisco.core.datagrams import Ask, Beat, Change, Entry, Foreign, Key, Malformed, encode
from nwdisco.core.directory import Directory
from nwdisco.core.lan import Lan

from .limits import small
from .rules import check_directory
from .script import PAUSES_S, Step, steps

PEER: Address = ("10.0.0.2", 40000)
SOURCES: tuple[Address, ...] = (
    PEER,
    ("10.0.0.3", 40000),
    ("10.0.0.2", 40001),
    ("10.66.66.66", 1),
    ("10.66.66.66", 65535),
    ("10.66.66.67", 5555),
    ("10.66.66.68", 5555),
    ("192.168.100.100", 40000),
)
OURS = ("ours", "10.0.0.1:80")
MOST_WAKES = 20_000
"""In one pause: more is a node that wakes up for ever."""
START = 100.0
NODE, KNOWN = "node-own", "node-two"
HELLO = (
    encode(Beat(KNOWN, 10_000, 2, 2)),
    encode(Change(KNOWN, 10_001, 0, 0, 0, 2, [Entry("a", 1, ":80"), Entry("teacher", 2, ":81")])),
)


class Node:
    """The node under test, and the books that are kept of what it was sent and what it sent."""

    def __init__(self) -> None:
        self.now = START
        self.directory = Directory(NODE)
        self.lan = Lan(self.directory, Random(1), self.now)
        self.directory.on_own.append(lambda name, advert: self.lan.own_change(name, advert, self.now))
        self.got: Counter[Address] = Counter()
        self.gave: Counter[Address] = Counter()
        self.proved: set[Address] = set()
        """Who has shown what only it can have from us."""

    def begin(self) -> None:
        self.lan.start(self.now)
        self.advertise(*OURS)
        for data in HELLO:
            self.hear(data, PEER, False)

    def advertise(self, name: str, address: str) -> None:
        rank = self.directory.next_rank(name, self.now)
        self.directory.put(Advert(name, address, {}, config.TTL_S, NODE, "program", self.now, rank))

    def hear(self, data: bytes, source: Address, direct: bool) -> None:
        self.got[source] += len(data)
        with suppress(Foreign, Malformed):
            if _shown(datagrams.decode(data)) == self.lan.contacts.proof_for(source):
                self.proved.add(source)
        self.lan.receive(data, source, self.now, direct)
        self.look()

    def wait(self, seconds: float) -> None:
        end, wakes = self.now + seconds, 0
        while self.lan.due is not None and self.lan.due <= end:
            self.now = max(self.now, self.lan.due)
            self.lan.wake(self.now)
            self.look()
            wakes += 1
            assert wakes < MOST_WAKES, f"it wakes up for ever at {self.now}"
        self.now = end

    def look(self) -> None:
        """Everything sent since the last look is allowed."""
        for data, to in self.lan.outbox:
            datagrams.decode(data)  # raises what it holds against our own datagram
            if not isinstance(to, str):
                self.gave[to] += len(data)
                assert to in self.proved or self.gave[to] <= self.got[to], f"{to} got more than it sent"
        self.lan.outbox.clear()

    def check(self) -> None:
        """No bound is passed, and what our own program advertised stands as it was."""
        peers = self.lan.peers
        assert len(peers) <= config.MAX_NODES, f"{len(peers)} peers"
        assert len(self.lan.contacts) <= config.MAX_CONTACTS, f"{len(self.lan.contacts)} contacts"
        early = sum(len(peer.early) for peer in peers)
        assert peers._early == early <= config.MAX_PENDING_CHANGES, f"{peers._early} counted, {early} changes wait"
        for peer in peers:
            held = self.directory.count_held_by(peer.node)
            assert held <= config.MAX_ADVERTS_PER_NODE, f"{held} adverts of {peer.node}"
        mine = self.directory.held("program", OURS[0])
        assert mine is not None
        assert (mine.address, mine.properties, mine.ttl_s) == (OURS[1], {}, config.TTL_S)


def node(data: bytes) -> None:
    with small():
        node = Node()
        node.begin()
        for step in steps(data):
            _play(node, step)
            node.check()
        check_directory(node.directory, node.now)


def _play(node: Node, step: Step) -> None:
    action = step.bits(6, 2)
    if action < 2:
        node.hear(step.payload, SOURCES[step.bits(0, 3)], direct=bool(step.bits(3, 1)))
    elif action == 2:
        name = "ours/" + step.payload[:8].hex()
        if not node.directory.remove("program", name):
            node.advertise(name, "10.0.0.1:8080")
    else:
        node.lan.moved(node.now)
    node.wait(PAUSES_S[step.bits(4, 2)])


def _shown(message: datagrams.Message) -> str | None:
    """What a datagram shows as a proof."""
    return message.nonce if isinstance(message, Key) else message.cookie if isinstance(message, Ask) else None
