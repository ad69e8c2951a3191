"""The targets of the fuzzer: each takes any bytes, and raises only where nwdisco has a fault.

Decoders are here, in etcd.py, registry.py and sealed.py; whole objects, with clients and time, in lan.py, doors.py,
networkzero.py and etcd.py. One more is one more line in TARGETS: a name, a function of bytes, and a few valid inputs to
begin with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import msgspec

from nwdisco import config, messages
from nwdisco.core import control, datagrams, names, networkzero
from nwdisco.core.datagrams import Change, Foreign, Malformed
from nwdisco.core.framed import Framed
from nwdisco.core.lines import Lines
from nwdisco.core.refused import Broken, Refused
from nwdisco.errors import MessageError

from . import doors, etcd, lan, registry, sealed, seeds
from . import networkzero as nz
from .limits import small
from .script import END


@dataclass(frozen=True)
class Target:
    name: str
    run: Callable[[bytes], None]
    """Raises only on a fault."""
    samples: tuple[bytes, ...]
    """Valid inputs."""


def lan_datagram(data: bytes) -> None:
    """Read or refused; what is read can be said again, and is within its ranges."""
    try:
        message = datagrams.decode(data)
    except (Foreign, Malformed):
        return
    again = datagrams.encode(message)
    if len(again) <= config.MAX_DATAGRAM_BYTES:
        assert datagrams.decode(again) == message
    if isinstance(message, Change):
        assert 0 <= message.since <= message.until <= 2**53
        for entry in message.entries:
            assert names.is_clean(entry.name)
            assert 0 <= entry.age_s < inf


def control_request(data: bytes) -> None:
    try:
        request = control.decode(data)
    except Refused as refused:
        control.encode_refusal(refused)
        return
    again = msgspec.json.encode(request)
    assert msgspec.json.encode(control.decode(again)) == again


def shim_lines(data: bytes) -> None:
    _whole_and_in_pieces(Lines, data)


def shim_framed(data: bytes) -> None:
    _whole_and_in_pieces(Framed, data)


def _whole_and_in_pieces(dialect: type[Lines | Framed], data: bytes) -> None:
    with small():
        whole = _requests(dialect(), [data])
        size = 1 + len(data) % 7
        pieces = _requests(dialect(), [data[begin : begin + size] for begin in range(0, len(data), size)])
    assert whole == pieces, f"{whole} in one piece, {pieces} in pieces of {size}"


def _requests(dialect: Lines | Framed, pieces: list[bytes]) -> list[object]:
    """What a connection makes of the pieces: its requests, and its refusals as they are answered, up to its end."""
    found: list[object] = []
    for piece in pieces:
        dialect.feed(piece)
        while True:
            try:
                request = dialect.next()
            except Refused as refused:
                found.append(dialect.encode_refusal(refused))
                if isinstance(refused, Broken):
                    return found
                continue
            if request is None:
                break
            found.append(request)
            if dialect.one_request:
                return found
    return found


def networkzero_datagram(data: bytes) -> None:
    try:
        said = networkzero.decode(data)
    except Refused:
        return
    again = networkzero.encode(said.name, said.address, said.ttl_s)
    if len(again) <= config.MAX_NETWORKZERO_BYTES:
        read = networkzero.decode(again)
        assert (read.name, read.address, read.ttl_s) == (said.name, said.address, said.ttl_s)
        assert read.by_nwdisco


def message(data: bytes) -> None:
    """A message; news, as they are and as JSON; a request in its envelope."""
    frames = data.split(END)
    for read in (
        lambda: _said_again(messages.decode(data)),
        lambda: messages.decode_news(frames, is_raw=True),
        lambda: _said_again(messages.decode_news(frames, is_raw=False)[1]),
        lambda: _said_again(messages.decode(messages.split_envelope(frames)[1])),
    ):
        try:
            read()
        except messages.Foreign:
            continue


def _said_again(value: object) -> None:
    try:
        data = messages.encode(value)
    except MessageError:
        return
    assert messages.encode(messages.decode(data)) == data


TARGETS = (
    Target("lan-datagram", lan_datagram, seeds.DATAGRAMS),
    Target("lan-node", lan.node, seeds.LAN),
    Target("sealed-datagram", sealed.datagram, seeds.SEALED),
    Target("control-request", control_request, seeds.CONTROL),
    Target("control-door", doors.control, seeds.CONTROL_DOOR),
    Target("shim-lines", shim_lines, seeds.SHIM_LINES),
    Target("shim-framed", shim_framed, seeds.SHIM_FRAMED),
    Target("shim-door", doors.shim, seeds.SHIM_DOOR),
    Target("networkzero-datagram", networkzero_datagram, seeds.NETWORKZERO),
    Target("networkzero-link", nz.link, seeds.NETWORKZERO_LINK),
    Target("networkzero-rpc", nz.rpc, seeds.NETWORKZERO_RPC),
    Target("etcd-value", etcd.value, seeds.ETCD),
    Target("etcd-imports", etcd.imports, seeds.ETCD_IMPORTS),
    Target("registry-instances", registry.instances, seeds.REGISTRY),
    Target("message", message, seeds.MESSAGES),
)
BY_NAME = {target.name: target for target in TARGETS}
