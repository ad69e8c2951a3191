"""The shim's framed dialect: a length of two bytes, a header of JSON, a content of JSON; one request a connection.

The framing is that of the well-known Python sockets tutorial (SEEDS 1). Bytes in, requests out; answers in, bytes out.
docs/shim.md is the specification.
"""

from __future__ import annotations

import struct
import sys
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from .. import config
from . import shim
from .refused import Broken, Refused
from .shim import Answer, Gate

LENGTH = struct.Struct(">H")
UTF_8 = ("utf-8", "utf8", "ascii", "us-ascii")
JSON, TEXT = "text/json", "text/plain"


class Header(Struct, rename={"kind": "content-type", "encoding": "content-encoding", "length": "content-length"}):
    byteorder: Literal["little", "big"]
    kind: str
    encoding: str
    length: Annotated[int, Meta(ge=0)]
    reason: str | UnsetType = UNSET
    """In an answer: why the request was refused."""


class _Place(Struct):
    ip: str
    port: int


_header = msgspec.json.Decoder(Header)
_request = msgspec.json.Decoder(shim.Register | shim.Heartbeat | shim.Query)
_encoder = msgspec.json.Encoder()


class Framed:
    one_request = True

    def __init__(self, gate: Gate | None = None) -> None:
        """`gate` lets in what it lets in; None: everything."""
        self._gate = gate
        self.rest = b""
        """The beginning of a message that is not complete."""
        self._header: Header | None = None
        self._content_at = 0

    def feed(self, data: bytes) -> None:
        self.rest += data

    def next(self) -> shim.Request | None:
        """The request, once it is complete. Raises Refused; Broken for what is none."""
        if self._header is None:
            if len(self.rest) < LENGTH.size:
                return None
            (size,) = LENGTH.unpack_from(self.rest)
            if size > config.MAX_SHIM_HEADER:
                raise Broken("bad_request", f"the header takes {size} bytes: {config.MAX_SHIM_HEADER} at most")
            self._content_at = LENGTH.size + size
            if len(self.rest) < self._content_at:
                return None
            self._header = _decode_header(self.rest[LENGTH.size : self._content_at])
        end = self._content_at + self._header.length
        if len(self.rest) < end:
            return None
        content, self.rest = self.rest[self._content_at : end], b""
        if self._gate is not None:
            self._gate.check(content)
        request: shim.Request
        try:
            request = _request.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Broken("bad_request", f"the content is no request: {str(error)[:200]}") from None
        return request

    def encode(self, answer: Answer) -> bytes:
        if answer.services is not UNSET:
            # An address that is no ip and port cannot be told in this dialect.
            places = [_Place(s.ip, s.port) for s in answer.services if s.ip is not UNSET and s.port is not UNSET]
            return _frame(JSON, _encoder.encode(places))
        return _frame(TEXT, b"OK" if answer.uuid is UNSET else answer.uuid.encode())

    def encode_refusal(self, refused: Refused) -> bytes:
        return _frame(TEXT, b"NOT FOUND" if refused.code == "not_found" else b"ERROR", str(refused))


def _decode_header(data: bytes) -> Header:
    try:
        header: Header = _header.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Broken("bad_request", f"this is no header: {str(error)[:200]}") from None
    if header.kind != JSON:
        raise Broken("bad_request", f"the content-type is {header.kind[:40]!r}: it must be {JSON}")
    if header.encoding.lower() not in UTF_8:
        raise Broken("bad_request", f"the content-encoding is {header.encoding[:40]!r}: it must be utf-8")
    if header.length > config.MAX_SHIM_MESSAGE:
        raise Broken("bad_request", f"the content-length is over {config.MAX_SHIM_MESSAGE}, which is the most")
    return header


def _frame(kind: str, content: bytes, reason: str | UnsetType = UNSET) -> bytes:
    header = _encoder.encode(Header(sys.byteorder, kind, "utf-8", len(content), reason))
    return LENGTH.pack(len(header)) + header + content
