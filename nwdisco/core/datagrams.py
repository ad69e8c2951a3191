"""The LAN's datagrams: `nw1` and a JSON array, its first element the kind. docs/protocol.md has each with an example.

Decoding is strict about types and ranges and lenient about more elements at the end, so that a later version can
add some. What is not ours raises Foreign; what is ours and broken raises Malformed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from .. import config
from . import names
from .advert import Advert

MAGIC = b"nw1"
MAX_ENTRIES = 200

NodeId = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{8}\\Z")]
Proof = Annotated[str, Meta(min_length=6, max_length=6)]
Counter = Annotated[int, Meta(ge=0, le=2**53)]


class Foreign(Exception):
    """Not a datagram of this protocol (or of another version of it)."""


class Malformed(Exception):
    """A datagram of this protocol that breaks its rules."""


class Entry(Struct, array_like=True, frozen=True):
    """One name in a change: an advert, or (with no address) word that the name is gone."""

    name: Annotated[str, Meta(min_length=1, max_length=config.MAX_NAME_BYTES)]
    version: Counter
    address: Annotated[str, Meta(min_length=1, max_length=config.MAX_ADDRESS_BYTES)] | None = None
    age_s: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    rank: Annotated[int, Meta(ge=0, le=2**31)] = 0
    ttl_s: Annotated[float, Meta(ge=config.MIN_TTL_S, le=config.MAX_TTL_S)] = config.TTL_S
    properties: Annotated[dict[str, str], Meta(max_length=200)] = {}


class Beat(Struct, array_like=True, frozen=True, tag="beat"):
    """I am here, and my adverts are at this version, so many."""

    node: NodeId
    seq: Counter
    version: Counter
    count: Counter


class Change(Struct, array_like=True, frozen=True, tag="change"):
    """All that changed in the sender's adverts after version `since`, up to version `until`."""

    node: NodeId
    seq: Counter
    place: Counter
    """Goes up by one when the sender's own addresses change."""
    horizon: Counter
    """Removals before this version are no longer told of: who is behind it begins at 0."""
    since: Counter
    until: Counter
    entries: Annotated[list[Entry], Meta(max_length=MAX_ENTRIES)]


class Who(Struct, array_like=True, frozen=True, tag="who"):
    """Is this really your address? And what must I show for you to believe mine?"""

    nonce: Proof
    padding: str = ""


class Key(Struct, array_like=True, frozen=True, tag="key"):
    """It is: here is your nonce back. Show me this cookie."""

    nonce: Proof
    cookie: Proof
    padding: str = ""


class Ask(Struct, array_like=True, frozen=True, tag="ask"):
    """Here is your cookie: tell me your changes after `since`, up to `until` (0: all)."""

    cookie: Proof
    since: Counter
    until: Counter


class Bye(Struct, array_like=True, frozen=True, tag="bye"):
    """I am leaving."""

    node: NodeId
    seq: Counter


Message = Beat | Change | Who | Key | Ask | Bye

_decoder = msgspec.json.Decoder(Message)
_encoder = msgspec.json.Encoder()


def encode(message: Message) -> bytes:
    return MAGIC + _encoder.encode(message)


def decode(data: bytes) -> Message:
    """One datagram as a message; Foreign or Malformed when it is none."""
    if not data.startswith(MAGIC + b"["):
        raise Foreign("does not begin with nw1[")
    if len(data) > config.MAX_DATAGRAM_BYTES:
        raise Malformed("over the size of a datagram")
    try:
        message: Message = _decoder.decode(memoryview(data)[len(MAGIC) :])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None
    if isinstance(message, Change):
        _check_change(message)
    return message


def _check_change(change: Change) -> None:
    if change.since > change.until:
        raise Malformed("since is after until")
    for entry in change.entries:
        if not (names.is_clean(entry.name) and names.is_clean(entry.address or "")):
            raise Malformed("control character in a name or an address")
        if not all(key and names.is_clean(key) for key in entry.properties):
            raise Malformed("empty or unclean name of a property")


def encode_entry(name: str, version: int, advert: Advert | None, now: float) -> bytes:
    """One entry as JSON. An advert whose IP was picked travels as ":port"."""
    if advert is None:
        return _encoder.encode((name, version))
    age_s = round(max(0.0, now - advert.born), 3)
    return _encoder.encode(
        (name, version, advert.address_on_the_wire, age_s, advert.rank, advert.ttl_s, advert.properties)
    )


def encode_change(
    node: str, seq: int, place: int, horizon: int, since: int, until: int, entries: Iterable[bytes]
) -> bytes:
    """A change around entries that are encoded already."""
    head = f'["change","{node}",{seq},{place},{horizon},{since},{until},['.encode()
    return MAGIC + head + b",".join(entries) + b"]]"
