"""Peers: the other nodes of the LAN as this one knows them, each with how far we have followed its journal.

A peer's changes are applied in the order of its versions. What comes early waits; what is missing is asked for. When a
peer no longer tells of removals that we missed, its journal is read again from the start, and what it did not mention
goes at the end: nothing flickers.

What is many adverts at once is done in turns: whoever calls `work` gives it one, as long as there is something `unfinished`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from .. import config
from . import datagrams
from .advert import Advert
from .contacts import Address
from .datagrams import Change, Entry
from .directory import Directory
from .turns import Turns

LATE_S: Final = 10.0
"""What a departed node sent before it left is not believed for so long. Longer: who is shut out by a forged goodbye
stays out longer."""
ENTRIES_AT_ONCE: Final = 200
"""Entries taken in of changes that waited, and adverts dropped, before programs get their turn: 1 to 2 ms each. More: big
directories are read faster, and hold programs up for longer."""


class Kept(NamedTuple):
    """A change that came before the one before it. It is kept as it came: decoded, it takes 22 kB."""

    since: int
    until: int
    data: bytes
    arrived_at: float


_since = attrgetter("since")


class Peer:
    __slots__ = (
        "address",
        "address_at",
        "asked_at",
        "catching_up",
        "chasing",
        "doubted_at",
        "early",
        "elsewhere",
        "heard_at",
        "horizon",
        "horizon_seq",
        "in_step",
        "latest",
        "node",
        "place",
        "progress_at",
        "seq",
        "stale",
        "tries",
        "version",
        "watch_at",
    )

    def __init__(self, node: str, address: Address, now: float) -> None:
        self.node = node
        self.address = address
        """Where it is reached, and what fills in adverts that travel without an IP."""
        self.address_at = now
        """When it was last heard from there."""
        self.elsewhere: Address | None = None
        """Another address that it was heard from."""
        self.doubted_at: float | None = None
        """While it is asked whether it has moved: since when."""
        self.heard_at = now
        self.watch_at = now
        """When it is looked at next, whether it has fallen silent."""
        self.seq = -1
        """The highest sequence number heard: what is not higher is a copy or a replay, and no sign of life."""
        self.place = 0
        self.version = 0
        """We hold all that changed up to here."""
        self.latest = 0
        """The highest version that it has told of."""
        self.horizon = 0
        """Where its horizon was when we began to read its journal ..."""
        self.horizon_seq = -1
        """... and which of its datagrams told of that: older ones may tell of adverts whose removal nobody tells any more."""
        self.early: list[Kept] = []
        """Changes that came before the one before them, in their order."""
        self.catching_up = False
        """Those that nothing is missing before are being taken in, or what is stale is being dropped."""
        self.stale: set[str] | None = None
        """While its journal is read again, and until they are dropped: names not mentioned."""
        self.in_step = False
        """We had all that it advertises, and have not lost sight of it since."""
        self.chasing = False
        self.tries = 0
        self.progress_at = now
        """When something that we miss last came in ..."""
        self.asked_at = now
        """... and when it was last asked for."""

    @property
    def behind(self) -> bool:
        return self.version < self.latest


class Peers:
    """All peers, bounded, and the directory kept in step with what they say."""

    def __init__(self, directory: Directory, counters: Counter[str]) -> None:
        self._directory = directory
        self._counters = counters
        self._turns = Turns()
        self._by_node: dict[str, Peer] = {}
        self._by_address: dict[Address, list[Peer]] = {}
        """Mostly one each: but a beacon may start anew at the port of the last one, and addresses can be forged."""
        self._on_machine: dict[str, set[str]] = {}
        """The nodes that are reached at each IP."""
        self._early = 0
        self._departed: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Peers forgotten lately: the last sequence number of each, and when."""
        self.on_near: Callable[[str], None] = _nobody
        """Told of a node when all that it advertises is known, ..."""
        self.on_far: Callable[[str], None] = _nobody
        """... before what a silent one advertises is dropped, ..."""
        self.on_left: Callable[[str], None] = _nobody
        """... and when one has said goodbye. Who knows it by another way too, wants to know."""

    def __len__(self) -> int:
        return len(self._by_node)

    def __iter__(self) -> Iterator[Peer]:
        return iter(tuple(self._by_node.values()))

    def get(self, node: str) -> Peer | None:
        return self._by_node.get(node)

    def at(self, address: Address) -> Peer | None:
        """The peer last heard from an address."""
        peers = self._by_address.get(address)
        if peers is None:
            return None
        return peers[0] if len(peers) == 1 else max(peers, key=lambda peer: peer.heard_at)

    def is_at(self, address: Address) -> bool:
        return address in self._by_address

    def is_late(self, node: str, seq: int, now: float) -> bool:
        """Whether this was sent before a peer that we forgot departed: only what is later shows that it is back."""
        last_seq, departed_at = self._departed.get(node, (-1, now))
        return seq <= last_seq and now - departed_at < LATE_S

    def any_behind(self) -> bool:
        return any(peer.behind for peer in self._by_node.values())

    def meet(self, node: str, address: Address, now: float) -> Peer | None:
        """The peer of this id, a new one if need be; None when there are too many, of all or on one machine."""
        peer = self._by_node.get(node)
        if peer is None and len(self._by_node) < config.MAX_NODES and self._has_room(address[0]):
            self._on_machine.setdefault(address[0], set()).add(node)
            peer = self._by_node[node] = Peer(node, address, now)
            self._departed.pop(node, None)
            self._by_address.setdefault(address, []).append(peer)
        return peer

    def leave(self, peer: Peer, now: float) -> None:
        """It said goodbye."""
        peer.in_step = False
        self.forget(peer, now)
        self.on_left(peer.node)

    def lose(self, peer: Peer) -> None:
        """It has been silent for so long that what it advertises is dropped."""
        if peer.in_step:
            peer.in_step = False
            self.on_far(peer.node)

    def forget(self, peer: Peer, now: float) -> None:
        self.lose(peer)
        self._by_node.pop(peer.node, None)
        self._departed[peer.node] = (peer.seq, now)
        if len(self._departed) > config.MAX_NODES:
            self._departed.popitem(last=False)
        self._leave_address(peer)
        self._drop_early(peer)
        peer.stale = None
        self._directory.end(peer.node)

    def move(self, peer: Peer, address: Address, now: float) -> None:
        """It is reached somewhere else now: its adverts without an IP of their own move along."""
        self._leave_address(peer)
        if address[0] != peer.address[0]:
            self._turns.begin(self._move_adverts(peer, address[0]))
        peer.address, peer.address_at, peer.elsewhere = address, now, None
        self._on_machine.setdefault(address[0], set()).add(peer.node)
        self._by_address.setdefault(address, []).append(peer)

    # --- what takes long ---

    @property
    def unfinished(self) -> bool:
        return self._turns.unfinished or self._directory.has_ended

    def work(self) -> None:
        """Go on for a turn."""
        self._turns.take(ENTRIES_AT_ONCE)
        self._directory.drop(ENTRIES_AT_ONCE)

    def _move_adverts(self, peer: Peer, ip: str) -> Iterator[int]:
        directory = self._directory
        for advert in directory.held_by(peer.node):
            if self._by_node.get(peer.node) is not peer or peer.address[0] != ip:
                return
            if advert.picked and directory.held(peer.node, advert.name) is advert:  # or else it was put since
                directory.put(msgspec.structs.replace(advert, address=ip + advert.address_on_the_wire))
            yield 1

    def _catch_up(self, peer: Peer) -> Iterator[int]:
        """Take in what came early and has nothing missing before it any more; at the end, drop what was not mentioned."""
        while True:
            if peer.early and peer.early[0].since <= peer.version:
                kept = peer.early.pop(0)
                self._early -= 1
                change = datagrams.decode(kept.data) if kept.until > peer.version else None
                if isinstance(change, Change):
                    self._apply(peer, change, kept.arrived_at)
                    self._look_whether_in_step(peer)
                    yield len(change.entries)
            elif peer.stale and not peer.behind:
                self._directory.remove(peer.node, peer.stale.pop())
            else:
                break
            yield 1
        if not peer.behind:
            peer.stale = None
        peer.catching_up = False

    # --- following its journal ---

    def follow(self, peer: Peer, change: Change, data: bytes, now: float) -> None:
        """Apply a change, which came as `data`, as soon as everything before it is there."""
        peer.latest = max(peer.latest, change.until)
        if peer.version < peer.horizon and change.horizon < peer.horizon and change.seq < peer.horizon_seq:
            return
        if peer.version < change.horizon and peer.horizon < change.horizon:
            self._drop_early(peer)
            if peer.version:
                self.start_again(peer)
            peer.horizon, peer.horizon_seq = change.horizon, change.seq
        if change.since > peer.version:
            self._keep(peer, change, data, now)
            return
        self._apply(peer, change, now)
        self._look_whether_in_step(peer)
        if not peer.catching_up and (peer.early or (peer.stale is not None and not peer.behind)):
            peer.catching_up = True
            self._turns.begin(self._catch_up(peer))

    def told_latest(self, peer: Peer, version: int, count: int) -> None:
        """Its newest beat says that its changes go up to a version, at which it has so many adverts.

        What we believed beyond that version was forged.
        """
        peer.latest = version
        if version < peer.version:
            self._drop_early(peer)
            self.start_again(peer)
        if count == 0:
            peer.stale = None
            peer.version = version
            self._directory.end(peer.node)
        if peer.early and not peer.behind:
            self._drop_early(peer)
        self._look_whether_in_step(peer)

    def gaps(self, peer: Peer, most: int) -> list[tuple[int, int]]:
        """What we miss, each after a version up to another (0: to the end), the oldest first."""
        found = []
        version = peer.version
        for kept in peer.early:
            if kept.since > version:
                found.append((version, kept.since))
                if len(found) == most:
                    return found
            version = max(version, kept.until)
        if version < peer.latest:
            found.append((version, 0))
        return found

    def start_again(self, peer: Peer) -> None:
        """Read its journal from the start, keeping what is listed until it is known to be gone."""
        peer.version = 0
        peer.stale = {advert.name for advert in self._directory.held_by(peer.node)}

    def _keep(self, peer: Peer, change: Change, data: bytes, now: float) -> None:
        """Until what is missing before it has come. Where there is no room, what follows sooner takes the last one's place."""
        place = bisect_left(peer.early, change.since, key=_since)
        is_last = place == len(peer.early)
        if not is_last and peer.early[place].since == change.since:
            return
        if not self._may_keep_another(peer):
            if is_last:
                return
            peer.early.pop()
            self._early -= 1
        peer.early.insert(place, Kept(change.since, change.until, data, now))
        peer.progress_at = now
        self._early += 1

    def _may_keep_another(self, peer: Peer) -> bool:
        """No machine has more of them than are left for others."""
        on_machine = sum(len(self._by_node[node].early) for node in self._on_machine[peer.address[0]])
        return on_machine < config.MAX_PENDING_CHANGES - self._early

    def _apply(self, peer: Peer, change: Change, arrived_at: float) -> None:
        if change.until <= peer.version:
            return
        directory, node, room = self._directory, peer.node, self._room_for(peer)
        for entry in change.entries:
            if peer.stale is not None:
                peer.stale.discard(entry.name)
            if entry.version <= peer.version:
                continue  # told again
            if entry.address is None:
                room += directory.remove(node, entry.name)
                continue
            is_new = directory.held(node, entry.name) is None
            if (is_new and room <= 0) or not directory.put(_advert(peer, entry, arrived_at), peer.heard_at):
                self._counters["over_limit"] += 1
            else:
                room -= is_new
        peer.version = change.until
        peer.progress_at = max(peer.progress_at, arrived_at)

    def _look_whether_in_step(self, peer: Peer) -> None:
        if not peer.in_step and not peer.behind:
            peer.in_step = True
            self.on_near(peer.node)

    def _room_for(self, peer: Peer) -> int:
        """How many adverts more it may have."""
        count = self._directory.count_held_by
        on_machine = sum(map(count, self._on_machine[peer.address[0]]))
        return min(config.MAX_ADVERTS_PER_NODE - count(peer.node), config.MAX_ADVERTS_PER_MACHINE - on_machine)

    def _has_room(self, ip: str) -> bool:
        return len(self._on_machine.get(ip, ())) < config.MAX_NODES_PER_MACHINE

    def _leave_address(self, peer: Peer) -> None:
        nodes = self._on_machine[peer.address[0]]
        nodes.remove(peer.node)
        if not nodes:
            del self._on_machine[peer.address[0]]
        there = self._by_address[peer.address]
        there.remove(peer)
        if not there:
            del self._by_address[peer.address]

    def _drop_early(self, peer: Peer) -> None:
        self._early -= len(peer.early)
        peer.early.clear()


def _nobody(_node: str) -> None:
    """Nobody wants to know."""


def _advert(peer: Peer, entry: Entry, arrived_at: float) -> Advert:
    address = entry.address or ""
    picked = address.startswith(":")
    return Advert(
        name=entry.name,
        address=f"{peer.address[0]}{address}" if picked else address,
        properties=entry.properties,
        ttl_s=entry.ttl_s,
        node=peer.node,
        holder=peer.node,
        born=arrived_at - entry.age_s,
        rank=entry.rank,
        picked=picked,
    )
