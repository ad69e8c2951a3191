"""The control protocol: what programs say to their beacon, a line of JSON a message, and how these are checked.

A connection begins with the line `nwdisco-control 1`. Then each request is answered by one line, in order; a watch by
lines until the connection closes. An advert stands as long as the connection that made it.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from .. import config
from .advert import Advert
from .refused import Refused

GREETING = f"nwdisco-control {config.CONTROL_VERSION}".encode()

Seconds = Annotated[float, Meta(ge=0)]


class Advertise(Struct, tag_field="do", tag="advertise"):
    name: str
    address: str
    """"ip:port", or ":port" for an IP to be picked."""
    properties: dict[str, str] = {}
    ttl_s: float = config.TTL_S
    fail_if_exists: bool = False
    age_s: Seconds = 0.0
    """For an advert put back: how long ago it was made."""


class Unadvertise(Struct, tag_field="do", tag="unadvertise"):
    name: str | None = None
    """None: all adverts of this connection."""


class Discover(Struct, tag_field="do", tag="discover"):
    name: str
    wait_s: Seconds | None = 0.0
    """None: for ever."""


class List(Struct, tag_field="do", tag="list"):
    group: str | None = None
    separator: str = "/"
    exclude: list[str] = []


class Watch(Struct, tag_field="do", tag="watch"):
    group: str | None = None
    separator: str = "/"


class Status(Struct, tag_field="do", tag="status"):
    pass


class Stop(Struct, tag_field="do", tag="stop"):
    pass


Request = Advertise | Unadvertise | Discover | List | Watch | Status | Stop

_decoder = msgspec.json.Decoder(Request)
_encoder = msgspec.json.Encoder()


def decode(line: bytes) -> Request:
    try:
        request: Request = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("bad_request", f"this is no request: {error}") from None
    return request


def encode(answer: object) -> bytes:
    return _encoder.encode(answer) + b"\n"


def encode_refusal(refused: Refused) -> bytes:
    return encode({"error": refused.code, "message": str(refused), "address": refused.address})


def describe(advert: Advert, now: float) -> tuple[str, str, object, str, float]:
    """An advert as programs get it: name, address, properties, node, age in seconds."""
    return (advert.name, advert.address, advert.properties, advert.node, round(max(0.0, now - advert.born), 3))
