"""What stands around a datagram on the wire: the protocol's version, the room, and with a secret the seal (sealed.py).

A beacon hears all datagrams of its port; those of other rooms, secrets and versions are told apart here, before anything is
decoded, and counted with where they came from, so that `nwdisco doctor` can say who else is there.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections import deque
from hashlib import blake2s
from typing import Final, NamedTuple, Protocol

from .contacts import Address
from .datagrams import MAGIC

PROTOCOL: Final = b"nw"
"""Begins every datagram of every version."""
ROOM_MARK, SEAL_MARK, OPEN_MARK = b"@", b"#", b"["
TAG_LENGTH: Final = 6

OTHER_VERSION: Final = "other version"
OTHER_ROOM: Final = "other room"
OTHER_SECRET: Final = "other secret"
HAS_SECRET: Final = "has a secret, we have none"
HAS_NO_SECRET: Final = "has no secret, we have one"
NOT_NWDISCO: Final = "not nwdisco"


class Stranger(NamedTuple):
    """Somebody whose datagrams are not for this beacon."""

    reason: str
    ip: str


class Wire(Protocol):
    """Sans I/O: each datagram that leaves is sealed, each that arrives is opened; what is in `outbox` is sent as it is."""

    outbox: deque[tuple[bytes, Address]]

    def seal(self, data: bytes) -> bytes:
        """A datagram of the LAN protocol as it goes on the wire."""

    def open(self, data: bytes, source: Address, now: float) -> bytes | Stranger | None:
        """A datagram of the LAN protocol out of what arrived; None when it is nobody's business any more."""


class OpenWire:
    """Without a secret: the room alone."""

    def __init__(self, room: str) -> None:
        self.outbox: deque[tuple[bytes, Address]] = deque()
        self._prefix = prefix_of(room)
        self._begins = self._prefix + OPEN_MARK
        self._is_plain = self._prefix == MAGIC

    def seal(self, data: bytes) -> bytes:
        return data if self._is_plain else self._prefix + data[len(MAGIC) :]

    def open(self, data: bytes, source: Address, now: float) -> bytes | Stranger | None:
        if not data.startswith(self._begins):
            return Stranger(why_not_ours(data, self._prefix, has_secret=False), source[0])
        return data if self._is_plain else MAGIC + data[len(self._prefix) :]


def prefix_of(room: str) -> bytes:
    """What each datagram of a room begins with: six characters of its hash, so that its length costs nothing."""
    return MAGIC + ROOM_MARK + tag_of(room).encode() if room else MAGIC


def tag_of(room: str) -> str:
    return base64url(blake2s(room.encode(), digest_size=6).digest())[:TAG_LENGTH].decode()


def base64url(data: bytes) -> bytes:
    """RFC 4648, 5. (The module base64 takes `re` in, which takes long to import.)"""
    return b2a_base64(data, newline=False).translate(bytes.maketrans(b"+/", b"-_"))


def why_not_ours(data: bytes, prefix: bytes, has_secret: bool) -> str:
    """Why a datagram that does not begin as ours do is none of ours."""
    if not data.startswith(PROTOCOL) or not data[2:3].isdigit():
        return NOT_NWDISCO
    if not data.startswith(MAGIC) or data[len(MAGIC) : len(MAGIC) + 1].isdigit():
        return OTHER_VERSION
    has_tag = data[len(MAGIC) : len(MAGIC) + 1] == ROOM_MARK
    end = len(MAGIC) + has_tag * (1 + TAG_LENGTH)
    mark = data[end : end + 1]
    if mark not in (SEAL_MARK, OPEN_MARK):
        return NOT_NWDISCO
    if data[:end] != prefix:
        return OTHER_ROOM
    return HAS_NO_SECRET if has_secret else HAS_SECRET
