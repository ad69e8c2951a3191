"""Peers: the other nodes of the LAN as this one knows them, each with how far we have followed its journal.

A peer's changes are applied in the order of its versions. What comes early waits; what is missing is asked for. When a
peer no longer tells of removals that we missed, its journal is read again from the start, and what it did not mention
goes at the end: nothing flickers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from .. import config
from .advert import Advert
from .contacts import Address
from .datagrams import Change, Entry
from .directory import Directory

LATE_S: Final = 10.0
"""What a departed node sent before it left is not believed for so long. Longer: who is shut out by a forged goodbye
stays out longer."""


class Peer:
    __slots__ = (
        "address",
        "address_at",
        "asked_at",
        "chasing",
        "doubted_at",
        "early",
        "elsewhere",
        "heard_at",
        "horizon",
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
        """Where its horizon was when we began to read its journal."""
        self.early: dict[int, tuple[Change, float]] = {}
        """Changes that came before the one before them, with their time of arrival, by `since`."""
        self.stale: set[str] | None = None
        """While its journal is read again: names not mentioned yet."""
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

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
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
        self._directory.remove_all(peer.node)

    def move(self, peer: Peer, address: Address, now: float) -> None:
        """It is reached somewhere else now: its adverts without an IP of their own move along."""
        self._leave_address(peer)
        peer.address, peer.address_at, peer.elsewhere = address, now, None
        self._on_machine.setdefault(address[0], set()).add(peer.node)
        self._by_address.setdefault(address, []).append(peer)
        for advert in self._directory.held_by(peer.node):
            if advert.picked:
                port = advert.address.rpartition(":")[2]
                self._directory.put(msgspec.structs.replace(advert, address=f"{address[0]}:{port}"))

    # --- following its journal ---

    def follow(self, peer: Peer, change: Change, now: float) -> int:
        """Apply a change as soon as everything before it is there; how many adverts a limit kept out."""
        peer.latest = max(peer.latest, change.until)
        if peer.version < change.horizon and peer.horizon < change.horizon:
            if peer.version:
                self.start_again(peer)
            peer.horizon = change.horizon
        if change.since > peer.version:
            if self._early < config.MAX_PENDING_CHANGES and change.since not in peer.early:
                peer.early[change.since] = change, now
                peer.progress_at = now
                self._early += 1
            return 0
        refused = self._apply(peer, change, now)
        while peer.early:
            since = min(peer.early)
            if since > peer.version:
                break
            self._early -= 1
            refused += self._apply(peer, *peer.early.pop(since))
        self._look_whether_in_step(peer)
        return refused

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
            self._directory.remove_all(peer.node)
        if peer.early and not peer.behind:
            self._drop_early(peer)
        self._look_whether_in_step(peer)

    def gaps(self, peer: Peer, most: int) -> list[tuple[int, int]]:
        """What we miss, each after a version up to another (0: to the end), the oldest first."""
        found = []
        version = peer.version
        for since in sorted(peer.early):
            if since > version:
                found.append((version, since))
                if len(found) == most:
                    return found
            version = max(version, peer.early[since][0].until)
        if version < peer.latest:
            found.append((version, 0))
        return found

    def start_again(self, peer: Peer) -> None:
        """Read its journal from the start, keeping what is listed until it is known to be gone."""
        peer.version = 0
        peer.stale = {advert.name for advert in self._directory.held_by(peer.node)}

    def _apply(self, peer: Peer, change: Change, arrived_at: float) -> int:
        refused = 0
        if change.until <= peer.version:
            return refused
        for entry in change.entries:
            if peer.stale is not None:
                peer.stale.discard(entry.name)
            if entry.version <= peer.version:
                continue  # told again
            if entry.address is None:
                self._directory.remove(peer.node, entry.name)
            elif not self._room_for(peer, entry) or not self._directory.put(
                _advert(peer, entry, arrived_at), peer.heard_at
            ):
                refused += 1
        peer.version = change.until
        peer.progress_at = max(peer.progress_at, arrived_at)
        if peer.stale is not None and not peer.behind:
            for name in peer.stale:
                self._directory.remove(peer.node, name)
            peer.stale = None
        return refused

    def _look_whether_in_step(self, peer: Peer) -> None:
        if not peer.in_step and not peer.behind:
            peer.in_step = True
            self.on_near(peer.node)

    def _room_for(self, peer: Peer, entry: Entry) -> bool:
        count = self._directory.count_held_by
        has_room = (
            count(peer.node) < config.MAX_ADVERTS_PER_NODE
            and sum(map(count, self._on_machine[peer.address[0]])) < config.MAX_ADVERTS_PER_MACHINE
        )
        return has_room or self._directory.held(peer.node, entry.name) is not None

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
