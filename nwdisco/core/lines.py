"""The shim's line dialect: each message a line of JSON that ends in CRLF (or LF), many a connection.

Bytes in, requests out; answers in, bytes out. docs/shim.md is the specification.
"""

from __future__ import annotations

from collections import deque

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from .. import config
from . import shim
from .refused import Broken, Refused
from .shim import Answer, Gate


class _Either(Struct):
    action: Raw | UnsetType = UNSET
    """There: the framed dialect's words, in a line. Not there, though the bytes are: they are some value."""


class _Refusal(Struct, kw_only=True):
    ok: bool = False
    error: str
    reason: str


_either = msgspec.json.Decoder(_Either)
_by_action = msgspec.json.Decoder(shim.Register | shim.Heartbeat | shim.Query | shim.Watch)
_by_type = msgspec.json.Decoder(shim.RegisterKey | shim.HeartbeatKey | shim.QueryKey | shim.WatchKey | shim.Destruction)
_encoder = msgspec.json.Encoder()
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Some clients begin with it."""
NO_OBJECT = (
    """this is no line of JSON, such as {"type":"query","key":"all"}; the connection ends, for it may be a browser's"""
)
"""A page of the web can make a browser send a request with lines in its body. HTTP's first line is none."""
DONE = _encoder.encode(shim.DONE) + b"\r\n"


class Lines:
    one_request = False

    def __init__(self, gate: Gate | None = None) -> None:
        """`gate` lets in what it lets in; None: everything."""
        self._gate = gate
        self.rest = b""
        """The beginning of a message that is not complete."""
        self._complete: deque[bytes] = deque()
        self._first = True

    def feed(self, data: bytes) -> None:
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()
        self._complete += lines

    def next(self) -> shim.Request | None:
        """The next request; None when no message is complete. Raises Refused, Broken when nothing after it can be read."""
        while self._complete:
            line = self._complete.popleft()
            if len(line) > config.MAX_SHIM_MESSAGE:
                raise _too_long()
            if self._first:
                line = line.removeprefix(BYTE_ORDER_MARK)
                self._first = not line.strip()
                if not line.lstrip().startswith(b"{") and not self._first:
                    raise Broken("bad_request", NO_OBJECT)
            if self._gate is not None and line.strip():
                self._gate.check(line)
            try:
                return decode(line)
            except Refused:
                if line.strip():
                    raise
        if len(self.rest) > config.MAX_SHIM_MESSAGE:
            raise _too_long()
        return None

    def encode(self, answer: Answer) -> bytes:
        return DONE if answer is shim.DONE else encode(answer)

    def encode_refusal(self, refused: Refused) -> bytes:
        return _encoder.encode(_Refusal(error=refused.code, reason=str(refused))) + b"\r\n"


def _too_long() -> Broken:
    return Broken("bad_request", f"a line takes {config.MAX_SHIM_MESSAGE} bytes at most")


def decode(line: bytes) -> shim.Request:
    """One line's request. Raises Refused."""
    request: shim.Request
    try:
        in_type = b'"action"' not in line or _either.decode(line).action is UNSET
        request = (_by_type if in_type else _by_action).decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = f'this is no request, such as {{"type":"query","key":"all"}}: {str(error)[:200]}'
        raise Refused("bad_request", text) from None
    return request


def encode(answer: Answer) -> bytes:
    return _encoder.encode(answer) + b"\r\n"
