"""Adverts in etcd: their keys and values, what of this node is to stand there, and what of others is taken from there.

A machine's adverts are `nwdisco/adverts/<node>/<name>` = JSON, all under the machine's one lease. Beside them, for services named
in NWDISCO_ETCD_PLAIN, stand plain keys `<service>/<lease id>` = host:port, as programs write them that know etcd only
(SEEDS.md, 5); theirs are adverts of the key's name.

Promise: a node that is heard on the LAN is believed there alone, so an advert that comes both ways is one advert. docs/etcd.md is
the specification. Pure: entries and the time in, changes of the directory and keys with values out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from .. import config
from ..errors import AdvertError
from . import names
from .advert import Advert
from .directory import Directory
from .refused import Refused
from .wire import tag_of

PREFIX = b"nwdisco/adverts/"
"""Of beacons in no room."""
PLAIN_NODE = "etcd"
"""Stands for the node of what programs without nwdisco wrote; node ids have eight characters."""
LEASE_MARK = 0x6E776473
"""The upper half of our leases' ids: by it, each beacon knows plain keys that a beacon wrote, whose adverts it has."""
MAX_AGE_S = 1e9


class Value(msgspec.Struct, omit_defaults=True):
    """What stands under an advert's key."""

    address: str
    properties: dict[str, str] = {}
    rank: int = 0
    age_s: float = 0.0
    """How long before it was written the advert was made."""


_NODE = re.compile("[A-Za-z0-9_-]{8}")
_decoder = msgspec.json.Decoder(Value)


def lease_id(random: int) -> int:
    """An id for a lease out of 32 random bits."""
    return LEASE_MARK << 32 | random & 0xFFFFFFFF


def is_ours(lease: int) -> bool:
    """Whether a beacon's lease has such an id."""
    return lease >> 32 == LEASE_MARK


def encode(advert: Advert, address: str, now: float) -> bytes:
    age_s = round(max(0.0, now - advert.born), 3)
    return msgspec.json.encode(Value(address, dict(advert.properties), advert.rank, age_s))


def decode(value: bytes) -> Value:
    """Raises Refused."""
    if len(value) > config.MAX_ETCD_VALUE:
        raise Refused("too_long", f"{len(value)} bytes")
    try:
        said = _decoder.decode(value)
        names.check_address_text(said.address)
        names.check_properties(said.properties)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AdvertError) as error:
        raise Refused("malformed", str(error)) from None
    if not 0 <= said.rank <= 2**31 or not 0 <= said.age_s <= MAX_AGE_S:
        raise Refused("malformed", "a rank or an age that no advert has")
    return said


def prefix_of(room: str) -> bytes:
    """Where the adverts of a room stand."""
    return f"nwdisco@{tag_of(room)}/adverts/".encode() if room else PREFIX


def decode_key(key: bytes) -> tuple[str, str]:
    """Node and name, after the prefix. Raises Refused."""
    node, slash, name = _text(key).partition("/")
    if not _NODE.fullmatch(node) or not slash:
        raise Refused("malformed", "a key without a node and a name")
    return node, _name(name)


def decode_plain(key: bytes, value: bytes) -> tuple[str, str]:
    """Name and address of what stands in the plain way. Raises Refused."""
    address = _text(value)
    host, colon, port = address.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or len(port) > 5 or not 0 < int(port) < 65536:
        raise Refused("malformed", f"{address[:60]!r} is not host:port")
    try:
        names.check_address_text(address)
    except AdvertError as error:
        raise Refused("malformed", str(error)) from None
    return _name(_text(key)), address


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Refused("malformed", "bytes that are no UTF-8") from None


def _name(text: str) -> str:
    try:
        return names.check_name(text)
    except AdvertError as error:
        raise Refused("malformed", str(error)) from None


class Exports:
    """What of this node is to stand in etcd."""

    def __init__(self, node: str, plain: Sequence[str], prefix: bytes = PREFIX) -> None:
        self._begins = prefix + node.encode() + b"/"
        self._plain = tuple(plain)
        self._adverts: dict[str, Advert] = {}
        self._slots: dict[str, list[str]] = {service: [] for service in plain}
        """The members of each plain service; a place in the list is a key. An empty one is free."""
        self.lease = 0
        self.ip: str | None = None
        """Under which others reach this machine, in place of an address that was picked; None: as it stands."""

    def __len__(self) -> int:
        return len(self._adverts)

    def own_change(self, name: str, advert: Advert | None, now: float) -> Iterator[tuple[bytes, bytes | None]]:
        """Keys with their values (None: none any more) once this node says something new of a name."""
        if advert is None:
            self._adverts.pop(name, None)
        else:
            self._adverts[name] = advert
        value = None if advert is None else encode(advert, self._address(advert), now)
        yield self._begins + name.encode(), value
        service = name.partition("/")[0]
        if service in self._slots and "/" in name and self.lease:
            place = self._place(self._slots[service], name)
            if advert is None:
                self._slots[service][place] = ""
            yield self._plain_key(service, place), None if advert is None else self._address(advert).encode()

    def everything(self, now: float) -> Iterator[tuple[bytes, bytes | None]]:
        """Under a new lease, or where this machine is reached under another address."""
        for service, slots in self._slots.items():
            yield from ((self._plain_key(service, place), None) for place in range(len(slots)))
        self._slots = {service: [] for service in self._plain}
        for name, advert in tuple(self._adverts.items()):
            yield from self.own_change(name, advert, now)

    def _address(self, advert: Advert) -> str:
        if not advert.picked or self.ip is None:
            return advert.address
        return self.ip + advert.address_on_the_wire

    def _place(self, slots: list[str], name: str) -> int:
        """Where a member of a service stands; a free place if it stands nowhere."""
        for wanted in (name, ""):
            if wanted in slots:
                slots[slots.index(wanted)] = name
                return slots.index(name)
        slots.append(name)
        return len(slots) - 1

    def _plain_key(self, service: str, place: int) -> bytes:
        return f"{service}/{self.lease}{f'-{place + 1}' if place else ''}".encode()


class Imports:
    """What of others is in this node's directory, as long as etcd is the way to them."""

    def __init__(self, directory: Directory, counters: Counter[str], prefix: bytes = PREFIX) -> None:
        self._directory = directory
        self._prefix = prefix
        self._counters = counters
        self._nodes: dict[str, dict[str, Advert]] = {}
        """All that etcd has, by node and name."""
        self._names: dict[bytes, tuple[str, str]] = {}
        """Node and name behind each key."""
        self._near: set[str] = set()
        """Nodes that are heard on the LAN, and believed there alone."""

    def __len__(self) -> int:
        return len(self._names)

    def listing(self, prefix: bytes, entries: Iterable[tuple[bytes, bytes, int]], now: float) -> None:
        """All keys of a prefix, with their values and leases: what is not among them is gone."""
        entries = list(entries)
        there = {key for key, _, _ in entries}
        for key in [key for key in self._names if key.startswith(prefix) and key not in there]:
            self.gone(key)
        for key, value, lease in entries:
            self.stands(key, value, lease, now)

    def stands(self, key: bytes, value: bytes, lease: int, now: float) -> None:
        """A key has a value, perhaps a new one."""
        try:
            found = self._advert(key, value, lease, now)
        except Refused as refused:
            self._counters[refused.code] += 1
            self._counters["refused"] += 1
            self.gone(key)
            return
        if found is None:
            self.gone(key)  # a stranger's until now, perhaps
            return
        adverts = self._nodes.get(found.node, {})
        before = adverts.get(found.name)
        if before is not None and before.says_the_same_as(found) and before.rank == found.rank:
            return  # registered again
        if before is None and not self._has_room(found.node, adverts):
            self._counters["over_limit"] += 1
            return
        self._nodes.setdefault(found.node, adverts)[found.name] = found
        self._names[key] = found.node, found.name
        if found.node not in self._near and not self._directory.put(found):
            self._counters["over_limit"] += 1

    def gone(self, key: bytes) -> None:
        """A key is no more."""
        node, name = self._names.pop(key, ("", ""))
        adverts = self._nodes.get(node)
        if adverts is None:
            return
        holder = adverts.pop(name).holder
        if not adverts:
            del self._nodes[node]
        self._directory.remove(holder, name)

    def clear(self, is_plain: bool) -> None:
        """etcd has not answered for so long that what it had may be gone: of nodes, or in the plain way."""
        for key in [key for key, (node, _) in self._names.items() if (node == PLAIN_NODE) is is_plain]:
            self.gone(key)

    # --- what the LAN knows ---

    def near(self, node: str) -> None:
        """All that a node advertises is known on the LAN by now."""
        self._near.add(node)
        self._directory.remove_all(_holder(node))

    def far(self, node: str) -> None:
        """A node is no longer heard on the LAN: what etcd has of it counts from now on."""
        self._near.discard(node)
        for advert in self._nodes.get(node, {}).values():
            self._directory.put(advert)

    def left(self, node: str) -> None:
        """A node said goodbye on the LAN, and will end its lease."""
        self._near.discard(node)
        for key in [key for key, (whose, _) in self._names.items() if whose == node]:
            self.gone(key)

    # --- inside ---

    def _advert(self, key: bytes, value: bytes, lease: int, now: float) -> Advert | None:
        """None for what this node knows better."""
        if not key.startswith(self._prefix):
            if is_ours(lease):
                return None
            name, address = decode_plain(key, value)
            return Advert(name, address, {}, config.ETCD_PLAIN_LEASE_S, PLAIN_NODE, _holder(PLAIN_NODE), now)
        node, name = decode_key(key.removeprefix(self._prefix))
        if node == self._directory.node:
            return None
        said = decode(value)
        ttl_s, born = float(config.ETCD_LEASE_S), now - said.age_s
        return Advert(name, said.address, said.properties, ttl_s, node, _holder(node), born, said.rank)

    def _has_room(self, node: str, adverts: dict[str, Advert]) -> bool:
        return (
            len(adverts) < config.MAX_ADVERTS_PER_NODE
            and (node in self._nodes or len(self._nodes) < config.MAX_NODES)
            and len(self._names) < config.MAX_ADVERTS
        )


def _holder(node: str) -> str:
    """Ranks below every node id: of two adverts that are alike, the LAN's is the one that is seen."""
    return f"!etcd/{node}"
