"""The seal under the fuzzer: bytes of strangers, and the same bytes sealed by somebody who has the secret."""

from __future__ import annotations

from collections import Counter

from nwdisco.core.sealed import SealedWire
from nwdisco.core.wire import OpenWire, Stranger

KEY = b"k" * 32
SHORTEST = 67
"""No beacon seals anything shorter, in a room."""
THERE = ("10.0.0.2", 2)


def datagram(data: bytes) -> None:
    """The first byte chooses the room. A stranger gets nothing in and no answer; an insider no more bytes than were sent."""
    room = "3b" if data[:1] > b"\x7f" else ""
    body, wire = data[1:], SealedWire(KEY, room, "node-own", Counter(), 0.0)
    for whole in (body, wire.seal(b"nw1" + body)[: len(body)]):
        assert wire.open(whole, THERE, 0.0) is None or isinstance(wire.open(whole, THERE, 0.0), Stranger)
        assert isinstance(OpenWire("other").open(whole, THERE, 0.0), Stranger | bytes)
    assert not wire.outbox
    sealed = wire._begins + wire._tag(body) + body
    for now in (0.0, 0.01, 6.0):
        opened = wire.open(sealed, THERE, now)
        assert opened is None or isinstance(opened, bytes)
        answers = [answer for answer, _ in wire.outbox]
        wire.outbox.clear()
        assert sum(map(len, answers)) <= max(len(sealed), SHORTEST), f"{answers} for {sealed!r}"
