"""The directory: the adverts alive now, each on a lease.

Everything that happens is a put, a renew, a remove or an expiry. A lease belongs to a holder: a program's connection
(it lasts until it closes) or a node of the LAN (it lasts as long as the node is heard; each advert outlives that by
its own time to live). Of several adverts of one name, the one advertised last is visible. The lease of a node may hold
20,000 adverts: when they end, they leave it at once, and are dropped a few at a time by whoever calls `drop`.

Promises: `discover` costs the same whatever the size; a group costs its own size; subscribers hear of every change
of what is visible, once, in order. It knows no socket and no clock: times are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec

from .. import config
from .advert import Advert
from .sorted_names import SortedNames

Kind = Literal["joined", "changed", "left"]
MAX_RANK = 2**31


class Event(msgspec.Struct, frozen=True):
    """A change of what is visible; `advert` is the new one, for "left" the old one."""

    kind: Kind
    advert: Advert


class _Lease:
    """What one holder has put, and the time it was last heard (None: it lasts until removed)."""

    __slots__ = ("_lives", "adverts", "heard_at")

    def __init__(self, heard_at: float | None) -> None:
        self.adverts: dict[str, Advert] = {}
        self.heard_at = heard_at
        self._lives: tuple[float, float] | None = None
        """The shortest and the longest time to live; None: to be measured afresh, by the next who asks."""

    def put(self, advert: Advert) -> Advert | None:
        """Add or replace an advert; the one replaced."""
        before = self.adverts.get(advert.name)
        self.adverts[advert.name] = advert
        if before is None and self._lives is not None:
            self._lives = (min(self._lives[0], advert.ttl_s), max(self._lives[1], advert.ttl_s))
        elif before is not None and before.ttl_s != advert.ttl_s:
            self._lives = None
        return before

    def pop(self, name: str) -> Advert:
        advert = self.adverts.pop(name)
        if self._lives is not None and advert.ttl_s in self._lives and self._lives[0] < self._lives[1]:
            self._lives = None
        return advert

    def pop_past(self, silence_s: float) -> dict[str, Advert]:
        """Take off what lives no longer than that."""
        gone = {name: advert for name, advert in self.adverts.items() if advert.ttl_s <= silence_s}
        self.adverts = {name: advert for name, advert in self.adverts.items() if advert.ttl_s > silence_s}
        self._lives = None
        return gone

    def lives(self) -> tuple[float, float]:
        if self._lives is None:
            found = {advert.ttl_s for advert in self.adverts.values()}
            self._lives = (min(found), max(found))
        return self._lives


class Directory:
    def __init__(self, node: str) -> None:
        self.node = node
        self.on_event: list[Callable[[Event], None]] = []
        """Called with every change of what is visible."""
        self.on_own: list[Callable[[str, Advert | None], None]] = []
        """Called when what this node itself says of a name changes; None: nothing any more."""
        self.changes = 0
        """How often anything was put or removed: what was worked out before is worth nothing after."""
        self._visible: dict[str, Advert] = {}
        self._outranked: dict[str, list[Advert]] = {}
        self._leases: dict[str, _Lease] = {}
        self._ended: dict[str, dict[str, Advert]] = {}
        """What is on no lease any more and is still to be dropped, by holder and name."""
        self._names = SortedNames()
        """The visible names."""
        self._size = 0

    # --- questions ---

    def __len__(self) -> int:
        """How many adverts there are, outranked ones and those still to be dropped included."""
        return self._size

    def get(self, name: str) -> Advert | None:
        return self._visible.get(name)

    def all(self) -> list[Advert]:
        """All visible adverts in the order of their names."""
        return [self._visible[name] for name in self._names]

    def group(self, group: str, separator: str = "/") -> list[Advert]:
        """The visible adverts whose names begin with the group and the separator, in the order of their names."""
        return self.beginning_with(group + separator)

    def beginning_with(self, prefix: str) -> list[Advert]:
        """The visible adverts whose names begin so, in the order of their names."""
        return [self._visible[name] for name in self._names.beginning_with(prefix)]

    def count(self, prefix: str) -> int:
        """How many visible names begin so, without a look at each."""
        return self._names.count(prefix)

    def held_by(self, holder: str) -> Iterable[Advert]:
        lease = self._leases.get(holder)
        return tuple(lease.adverts.values()) if lease else ()

    def count_held_by(self, holder: str) -> int:
        lease = self._leases.get(holder)
        return len(lease.adverts) if lease else 0

    def lives_of(self, holder: str) -> tuple[float, float]:
        """The shortest and the longest time to live among a holder's adverts; the default where it has none."""
        lease = self._leases.get(holder)
        return lease.lives() if lease else (config.TTL_S, config.TTL_S)

    def held(self, holder: str, name: str) -> Advert | None:
        """A holder's advert of a name, visible or outranked."""
        lease = self._leases.get(holder)
        return lease.adverts.get(name) if lease else None

    @property
    def has_ended(self) -> bool:
        """Whether there is something to be dropped."""
        return bool(self._ended)

    def own(self, name: str) -> Advert | None:
        """What this node itself says of a name: the last of its programs' adverts."""
        return max((a for a in self._contenders(name) if a.node == self.node), key=_order, default=None)

    def next_rank(self, name: str, born: float) -> int:
        """The rank that puts an advert before all of its name that were made before it (one put back may be old)."""
        before = (a.rank for a in self._contenders(name) if a.born <= born + self._leeway(a))
        return min(max(before, default=-1) + 1, MAX_RANK)

    # --- what happens ---

    def put(self, advert: Advert, heard_at: float | None = None) -> bool:
        """Add or replace a holder's advert of a name; False when the directory is full and nothing was changed."""
        ended = self._ended.get(advert.holder, {}).get(advert.name)
        if self._size >= config.MAX_ADVERTS and ended is None and self.held(advert.holder, advert.name) is None:
            return False
        lease = self._leases.get(advert.holder)
        if lease is None:
            lease = self._leases[advert.holder] = _Lease(heard_at)
        own_before = self.own(advert.name) if advert.node == self.node else None
        before = lease.put(advert)
        if ended is not None:  # back before it was dropped: nobody need hear of that
            before = ended
            self._forget_ended(advert.holder, advert.name)
        self._size += before is None
        self._replace(advert.name, before, advert)
        if advert.node == self.node:
            self._tell_own(advert.name, own_before)
        self._outbid(advert)
        return True

    def remove(self, holder: str, name: str) -> bool:
        """Take back a holder's advert of a name; False when there was none."""
        lease = self._leases.get(holder)
        if lease is None or name not in lease.adverts:
            return False
        advert = lease.pop(name)
        if not lease.adverts:
            del self._leases[holder]
        self._size -= 1
        own_before = self.own(name) if advert.node == self.node else None
        self._replace(name, advert, None)
        if advert.node == self.node:
            self._tell_own(name, own_before)
        return True

    def remove_all(self, holder: str) -> None:
        """The end of a lease: all that it held goes."""
        for advert in self.held_by(holder):
            self.remove(holder, advert.name)

    def end(self, holder: str) -> None:
        """The end of a node's lease: all that it held is to be dropped."""
        lease = self._leases.pop(holder, None)
        if lease is not None:
            self._note_ended(holder, lease.adverts)

    def drop(self, most: int) -> None:
        """Drop so many of the adverts that have ended, those of the holder that ended first before others'."""
        while self._ended and most:
            most -= 1
            holder, adverts = next(iter(self._ended.items()))
            name, advert = adverts.popitem()
            if not adverts:
                del self._ended[holder]
            self._size -= 1
            self._replace(name, advert, None)

    def renew(self, holder: str, heard_at: float) -> None:
        lease = self._leases.get(holder)
        if lease is not None and lease.heard_at is not None:
            lease.heard_at = heard_at

    def expire(self, holder: str, now: float) -> bool:
        """End a silent node's adverts whose time to live has passed; True when there were any."""
        lease = self._leases.get(holder)
        if lease is None or lease.heard_at is None or now - lease.heard_at < lease.lives()[0]:
            return False
        silence_s = now - lease.heard_at
        if lease.lives()[1] <= silence_s:
            self.end(holder)
        else:
            self._note_ended(holder, lease.pop_past(silence_s))
        return True

    def readdress(self, ip: str) -> None:
        """This machine has another address: the adverts of its programs that were given without an IP show it."""
        for lease in tuple(self._leases.values()):
            for advert in tuple(lease.adverts.values()):
                if advert.node == self.node and advert.picked:
                    self.put(msgspec.structs.replace(advert, address=ip + advert.address_on_the_wire))

    # --- inside ---

    def _note_ended(self, holder: str, adverts: dict[str, Advert]) -> None:
        before = self._ended.get(holder)
        if before is not None:
            before.update(adverts)
        elif adverts:
            self._ended[holder] = adverts

    def _forget_ended(self, holder: str, name: str) -> None:
        adverts = self._ended[holder]
        del adverts[name]
        if not adverts:
            del self._ended[holder]

    def _contenders(self, name: str) -> Iterator[Advert]:
        visible = self._visible.get(name)
        if visible is not None:
            yield visible
            yield from self._outranked.get(name, ())

    def _replace(self, name: str, old: Advert | None, new: Advert | None) -> None:
        """Swap one contender for a name and settle anew which is visible."""
        self.changes += 1
        seen = self._visible.get(name)
        contenders = [a for a in self._contenders(name) if a is not old]
        if new is not None:
            contenders.append(new)
        if not contenders:
            if seen is not None:
                del self._visible[name]
                self._names.remove(name)
                self._tell(Event("left", seen))
            return
        winner = max(contenders, key=_order)
        self._visible[name] = winner
        if len(contenders) > 1:
            self._outranked[name] = [a for a in contenders if a is not winner]
        else:
            self._outranked.pop(name, None)
        if seen is None:
            self._names.add(name)
            self._tell(Event("joined", winner))
        elif not winner.says_the_same_as(seen):
            self._tell(Event("changed", winner))

    def _outbid(self, other: Advert) -> None:
        """Our own advert was made clearly later but ranks below another (after a split, say): raise it."""
        own = (a for a in self._contenders(other.name) if a.node == self.node)
        mine = max(own, key=lambda a: a.born, default=None)
        if (
            mine is not None
            and mine.order < other.order
            and mine.born > other.born + self._leeway(other)
            and other.rank < MAX_RANK
        ):
            self.put(msgspec.structs.replace(mine, rank=other.rank + 1))

    def _leeway(self, other: Advert) -> float:
        """How closely our clock knows when an advert was made."""
        return 0.0 if other.node == self.node else config.SAME_MOMENT_S

    def _tell(self, event: Event) -> None:
        for subscriber in tuple(self.on_event):
            subscriber(event)

    def _tell_own(self, name: str, before: Advert | None) -> None:
        now = self.own(name)
        if now is not before:
            for subscriber in tuple(self.on_own):
                subscriber(name, now)


def _order(advert: Advert) -> tuple[int, str, str]:
    return advert.order
