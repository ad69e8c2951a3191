"""What NetworkZero's programs say to each other over UDP, and which of it this node's directory takes in.

A datagram is a JSON list, [name, address, ttl_s], repeated about every 2 s; nothing says goodbye but a ttl_s of 0. What
is heard stands in the directory on a lease that each repetition renews, so the LAN's other nodes have it too.

Promises: nothing is taken in that some nwdisco node tells (no loops), nothing changes because it is repeated (no
flapping), and what strangers send costs bounded memory and a bounded number of changes. The other way, ours to theirs, is
networkzero_exports.py. Pure: datagrams and the time in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from math import inf, isfinite

import msgspec

from .. import config
from ..errors import AdvertError
from . import names
from .advert import Advert
from .budget import Budget
from .directory import Directory
from .refused import Refused
from .registrations import Registrations

MARK = b"\n"
"""Ends each datagram of a nwdisco node: white space to NetworkZero, and to other nodes the sign that it is no program's own."""
FROM = "from"
NETWORKZERO = "networkzero"
FROM_NETWORKZERO = {FROM: NETWORKZERO}
"""The properties of what was taken in. No node tells NetworkZero of an advert that has them."""
THIS_MACHINE = ("127.", "localhost:", "0.0.0.0:")
"""How addresses begin that mean the machine that says them."""


class Said(msgspec.Struct, frozen=True):
    """One datagram."""

    name: str
    address: str
    ttl_s: float
    """Seconds; `inf` for ever, 0 (or less) for a withdrawal."""
    by_nwdisco: bool


_decoder = msgspec.json.Decoder(tuple[str, str, float | None])


def decode(data: bytes) -> Said:
    """Raises Refused."""
    if len(data) > config.MAX_NETWORKZERO_BYTES:
        raise Refused("too_long", f"{len(data)} bytes")
    try:
        name, address, ttl_s = _decoder.decode(data)
        names.check_name(name)
        names.check_address_text(address)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AdvertError) as error:
        raise Refused("malformed", str(error)) from None
    if ttl_s is not None and not isfinite(ttl_s):
        raise Refused("malformed", "an endless number")
    return Said(name, address, inf if ttl_s is None else ttl_s, data.endswith(MARK))


def encode(name: str, address: str, ttl_s: float) -> bytes:
    told = None if ttl_s == inf else int(ttl_s) if ttl_s == int(ttl_s) else ttl_s
    return msgspec.json.encode([name, address, told]) + MARK


def is_from_networkzero(advert: Advert) -> bool:
    return advert.properties.get(FROM) == NETWORKZERO


class Heard:
    """Who was heard to tell what, and since when: the memory of the wire, of a bounded size."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], tuple[float, float]] = {}
        """Name and address: first and last heard. In the order of the last."""

    def note(self, name: str, address: str, now: float) -> float:
        """Heard now; since when it has been told without a longer silence."""
        key = (name, address)
        first, last = self._times.pop(key, (now, now))
        if now - last > config.NETWORKZERO_SILENT_S:
            first = now
        self._times[key] = (first, now)
        if len(self._times) > 2 * config.MAX_NETWORKZERO_IMPORTS:
            del self._times[next(iter(self._times))]
        return first

    def lately(self, name: str, address: str, now: float) -> bool:
        times = self._times.get((name, address))
        return times is not None and now - times[1] <= config.NETWORKZERO_SILENT_S

    def clear(self) -> None:
        self._times.clear()


class Imports:
    """NetworkZero's adverts in this node's directory."""

    def __init__(self, directory: Directory, counters: Counter[str], now: float) -> None:
        self.leases = Registrations(directory, f"{directory.node}#{NETWORKZERO}")
        self._directory = directory
        self._counters = counters
        self._heard_at: dict[str, float] = {}
        """When each import was heard last; the one that is silent longest comes first."""
        self._budget = Budget(config.NETWORKZERO_TAKEN_PER_S, now)

    def __len__(self) -> int:
        return len(self.leases)

    @property
    def due(self) -> float | None:
        """When `expire` wants to be called."""
        return self.leases.due

    def hear(self, said: Said, address: str, since: float, now: float) -> None:
        """A program of NetworkZero's has told an advert, at an address as it is reached from here, `since` when it does

        without a longer silence.
        """
        name = said.name
        mine = self._directory.held(self.leases.holder, name)
        if names.json_bytes(address) - 2 > config.MAX_ADDRESS_BYTES:
            self._counters["too_long"] += 1  # as it is reached from here: no other node would read it
        elif said.ttl_s <= 0:
            if mine is not None and mine.address == address:
                self._drop(name)
        elif mine is not None and mine.address == address:
            self._take(mine, said.ttl_s, now)
        elif mine is not None and since <= mine.born:
            self._counters["outdone"] += 1  # two programs have this name: the one that came last has it
        elif mine is None and self._is_known(name, address):
            self._counters["known"] += 1
        elif not self._budget.take(now):
            self._counters["over_rate"] += 1
        elif mine is None and not self._has_room(now):
            self._counters["over_limit"] += 1
        else:
            self._take(self._advert(name, address, since), said.ttl_s, now)

    def expire(self, now: float) -> None:
        self.leases.expire(now, config.MAX_NETWORKZERO_IMPORTS)

    def clear(self) -> None:
        for advert in self._directory.held_by(self.leases.holder):
            self._drop(advert.name)

    def _is_known(self, name: str, address: str) -> bool:
        """Somebody else has it in the directory: another node that heard it too, or a program of nwdisco's."""
        there = self._directory.get(name)
        return there is not None and there.address == address

    def _advert(self, name: str, address: str, since: float) -> Advert:
        return Advert(
            name=name,
            address=address,
            properties=FROM_NETWORKZERO,
            ttl_s=config.TTL_S,  # what others go by when this node falls silent; the lease is this node's own business
            node=self._directory.node,
            holder=self.leases.holder,
            born=since,
            rank=self._directory.next_rank(name, since),
        )

    def _take(self, advert: Advert, ttl_s: float, now: float) -> None:
        lease_s = ttl_s if ttl_s == inf else min(ttl_s, config.MAX_TTL_S)
        try:
            self.leases.put(advert, 0.0, now, lease_s=lease_s)
        except Refused:
            self._counters["over_limit"] += 1
            return
        self._heard_at.pop(advert.name, None)
        self._heard_at[advert.name] = now
        if len(self._heard_at) > 2 * config.MAX_NETWORKZERO_IMPORTS:  # those whose leases have ended are in it still
            held = {held.name for held in self._directory.held_by(self.leases.holder)}
            self._heard_at = {name: at for name, at in self._heard_at.items() if name in held}

    def _drop(self, name: str) -> None:
        self.leases.remove(name)
        self._heard_at.pop(name, None)

    def _has_room(self, now: float) -> bool:
        if len(self.leases) < config.MAX_NETWORKZERO_IMPORTS:
            return True
        for name, heard_at in tuple(self._heard_at.items()):
            if self._directory.held(self.leases.holder, name) is None:  # its lease has ended
                del self._heard_at[name]
            elif now - heard_at <= config.NETWORKZERO_SILENT_S:
                return False
            else:
                self._drop(name)
                return True
        return False


def as_reached(address: str, source_ip: str, own_ips: Collection[str]) -> str:
    """An address of the machine that a datagram came from, as this one reaches it."""
    if source_ip in own_ips or not address.startswith(THIS_MACHINE):
        return address
    return source_ip + address[address.rfind(":") :] if ":" in address else address
