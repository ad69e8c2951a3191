"""Peers: the other nodes of the LAN as this one knows them, each with how far we have followed its journal.

A peer's changes are applied in the order of its versions. What comes early waits; what is missing is asked for. When a
peer no longer tells of removals that we missed, its journal is read again from the start, and what it did not mention
goes at the end: nothing flickers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from .. import config
from .advert import Advert
from .contacts import Address
from .datagrams import Change, Entry
from .directory import Directory


class Peer:
    __slots__ = (
        "address",
        "address_at",
        "chasing",
        "count",
        "early",
        "elsewhere",
        "heard_at",
        "latest",
        "node",
        "place",
        "progress_at",
        "seq",
        "stale",
        "tries",
        "version",
    )

    def __init__(self, node: str, address: Address, now: float) -> None:
        self.node = node
        self.address = address
        """Where it is reached, and what fills in adverts that travel without an IP."""
        self.address_at = now
        """When it was last heard from there."""
        self.elsewhere: Address | None = None
        """Another address that it was heard from."""
        self.heard_at = now
        self.seq = -1
        """The highest sequence number heard: what is not higher is a copy or a replay, and no sign of life."""
        self.place = 0
        self.version = 0
        """We hold all that changed up to here."""
        self.latest = 0
        """The highest version that it has told of."""
        self.count = 0
        """How many adverts it says that it has."""
        self.early: dict[int, Change] = {}
        """Changes that came before the one before them, by `since`."""
        self.stale: set[str] | None = None
        """While its journal is read again: names not mentioned yet."""
        self.chasing = False
        self.tries = 0
        self.progress_at = now

    @property
    def behind(self) -> bool:
        return self.version < self.latest


class Peers:
    """All peers, bounded, and the directory kept in step with what they say."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._by_node: dict[str, Peer] = {}
        self._by_address: dict[Address, Peer] = {}
        self._early = 0
        self._departed: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_node)

    def __iter__(self) -> Iterator[Peer]:
        return iter(tuple(self._by_node.values()))

    def get(self, node: str) -> Peer | None:
        return self._by_node.get(node)

    def at(self, address: Address) -> Peer | None:
        return self._by_address.get(address)

    def seq_of_departed(self, node: str) -> int:
        """The last sequence number of a peer that was forgotten: only what is later shows that it is back."""
        return self._departed.get(node, -1)

    def any_behind(self) -> bool:
        return any(peer.behind for peer in self._by_node.values())

    def meet(self, node: str, address: Address, now: float) -> Peer | None:
        """The peer of this id, a new one if need be; None when there are too many."""
        peer = self._by_node.get(node)
        if peer is None and len(self._by_node) < config.MAX_NODES:
            peer = self._by_node[node] = Peer(node, address, now)
            self._departed.pop(node, None)
            self._by_address[address] = peer
        return peer

    def forget(self, peer: Peer) -> None:
        self._by_node.pop(peer.node, None)
        self._departed[peer.node] = peer.seq
        if len(self._departed) > config.MAX_NODES:
            self._departed.popitem(last=False)
        if self._by_address.get(peer.address) is peer:
            del self._by_address[peer.address]
        self._early -= len(peer.early)
        self._directory.remove_all(peer.node)

    def move(self, peer: Peer, address: Address, now: float) -> None:
        """It is reached somewhere else now: its adverts without an IP of their own move along."""
        if self._by_address.get(peer.address) is peer:
            del self._by_address[peer.address]
        peer.address, peer.address_at, peer.elsewhere = address, now, None
        self._by_address[address] = peer
        for advert in self._directory.held_by(peer.node):
            if advert.picked:
                port = advert.address.rpartition(":")[2]
                self._directory.put(msgspec.structs.replace(advert, address=f"{address[0]}:{port}"))

    # --- following its journal ---

    def follow(self, peer: Peer, change: Change, now: float) -> int:
        """Apply a change as soon as everything before it is there; how many adverts a limit kept out."""
        peer.latest = max(peer.latest, change.until)
        if 0 < peer.version < change.horizon:
            self.start_again(peer)
        if change.since > peer.version:
            if self._early < config.MAX_PENDING_CHANGES and change.since not in peer.early:
                peer.early[change.since] = change
                self._early += 1
            return 0
        refused = self._apply(peer, change, now)
        while peer.early:
            since = min(peer.early)
            if since > peer.version:
                break
            self._early -= 1
            refused += self._apply(peer, peer.early.pop(since), now)
        return refused

    def emptied(self, peer: Peer, version: int) -> None:
        """It says that at this version it has no adverts at all."""
        self._early -= len(peer.early)
        peer.early.clear()
        peer.stale = None
        peer.version = version
        self._directory.remove_all(peer.node)

    def start_again(self, peer: Peer) -> None:
        """Read its journal from the start, keeping what is listed until it is known to be gone."""
        peer.version = 0
        peer.stale = {advert.name for advert in self._directory.held_by(peer.node)}

    def _apply(self, peer: Peer, change: Change, now: float) -> int:
        refused = 0
        if change.until <= peer.version:
            return refused
        for entry in change.entries:
            if peer.stale is not None:
                peer.stale.discard(entry.name)
            if entry.address is None:
                self._directory.remove(peer.node, entry.name)
            elif not self._room_for(peer, entry) or not self._directory.put(_advert(peer, entry, now), peer.heard_at):
                refused += 1
        peer.version = change.until
        peer.progress_at = now
        if peer.stale is not None and not peer.behind:
            for name in peer.stale:
                self._directory.remove(peer.node, name)
            peer.stale = None
        return refused

    def _room_for(self, peer: Peer, entry: Entry) -> bool:
        return self._directory.count_held_by(peer.node) < config.MAX_ADVERTS_PER_NODE or any(
            advert.name == entry.name for advert in self._directory.held_by(peer.node)
        )


def _advert(peer: Peer, entry: Entry, now: float) -> Advert:
    address = entry.address or ""
    picked = address.startswith(":")
    return Advert(
        name=entry.name,
        address=f"{peer.address[0]}{address}" if picked else address,
        properties=entry.properties,
        ttl_s=entry.ttl_s,
        node=peer.node,
        holder=peer.node,
        born=now - entry.age_s,
        rank=entry.rank,
        picked=picked,
    )
