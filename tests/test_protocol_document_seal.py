"""docs/protocol.md on rooms, the seal and strangers: made here from the page's words alone, as another language would."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections import Counter
from hashlib import blake2s, pbkdf2_hmac
from pathlib import Path

import pytest

from nwdisco.beacon.runtime import Runtime
from nwdisco.core import sealed, secret, sources, wire
from nwdisco.core.contacts import Address
from nwdisco.core.sealed import SealedWire
from nwdisco.core.secret import lan_key
from nwdisco.core.wire import OpenWire, Stranger, prefix_of
from nwdisco.settings import Settings
from tests.documents import Document

DOCUMENT = Document("protocol.md")
BEAT = DOCUMENT.of_kind("lan")[0].lines[0]
"""The page's first example."""
SECRET = "correct horse battery staple"
"""The page's, as are these."""
NODE, OTHER = "kX3v_9Qa", "b1Tq-0Ze"
A: Address = ("192.168.1.7", 40123)


# --- rooms ---


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data)


def _begin(room: str) -> bytes:
    return b"nw1@" + _base64(blake2s(room.encode(), digest_size=6).digest())[:6] if room else b"nw1"


def test_each_room_begins_its_datagrams_as_the_document_says() -> None:
    rows = dict(DOCUMENT.table_rows("room"))
    assert len(rows) == 4
    begins = re.findall(r"^\|(?: `(.*)`)? \| `(nw1.*)` \|$", DOCUMENT.text, re.MULTILINE)
    assert [room for room, _ in begins] == ["", "3b", "3c", "Zimmer ä"]
    for room, begin in begins:
        assert begin.encode() == _begin(room) == prefix_of(room)


def test_the_datagram_of_a_room_is_made_and_read_as_the_document_says() -> None:
    (block,) = DOCUMENT.of_kind("room")
    (data,) = block.lines
    assert _begin("3b") + BEAT.removeprefix(b"nw1") == data
    assert OpenWire("3b").seal(BEAT) == data
    assert OpenWire("3b").open(data, A, 0.0) == BEAT
    assert len(data) == block.size


@pytest.mark.parametrize("room", ["", "3b"])
def test_files_of_a_room_are_named_as_the_document_says(room: str) -> None:
    runtime = Runtime(Settings.from_environment({"NWDISCO_RUNTIME_DIR": "/r", "NWDISCO_ROOM": room}))
    row = next(
        line for line in DOCUMENT.text.splitlines() if f"`{Path(runtime.socket).name}`" in line and line.startswith("|")
    )
    named = [Path(path).name for path in (runtime.socket, runtime.lock, runtime.start_lock, runtime.log)]
    assert re.findall(r"`([^`]+)`", row) == [room, *named][not room :]
    hashed = "-" + blake2s(room.encode(), digest_size=8).hexdigest() if room else ""
    assert named[0] == f"beacon{hashed}.sock"


# --- the seal ---


def _key(room: str) -> bytes:
    return pbkdf2_hmac("sha256", SECRET.encode(), f"nwdisco 1 lan/{room}".encode(), 100_000, 32)


def _sealed(room: str, node: str, count: int, kind: bytes, body: bytes) -> bytes:
    begin = _begin(room) + b"#"
    rest = f" {node} {count:012} ".encode() + kind + body
    return begin + _base64(blake2s(begin + rest, key=_key(room), digest_size=12).digest()) + rest


def test_keys_are_derived_as_the_document_says() -> None:
    keys = re.findall(r"^\|(?: `(.*)`)? \| `([0-9a-f]{64})` \|$", DOCUMENT.text, re.MULTILINE)
    assert [room for room, _ in keys] == ["", "3b"]
    for room, key in keys:
        assert bytes.fromhex(key) == _key(room) == lan_key(SECRET, room)
    assert f"With the secret `{SECRET}`:" in DOCUMENT.text


def test_the_lengths_of_the_seal_are_the_ones_in_the_code() -> None:
    documented = {name: int(value) for name, value in DOCUMENT.table_rows("of the seal")}
    lengths = {name: value for name, value in vars(sealed).items() if name.isupper() and isinstance(value, int)}
    assert documented == lengths | {name: getattr(secret, name) for name in ("ROUNDS", "KEY_BYTES")}


@pytest.mark.parametrize("room", ["", "3b"])
def test_sealed_datagrams_are_made_byte_by_byte_as_the_document_shows_them(room: str) -> None:
    begin = _begin(room) + b"#"
    blocks = [block for block in DOCUMENT.of_kind("sealed") if block.lines[0].startswith(begin)]
    shown = [line for block in blocks for line in block.lines]
    _, challenge, response, _ = shown
    nonce, own_nonce = challenge[-16:-8], response[-8:]
    asked = NODE.encode()
    assert shown == [
        _sealed(room, NODE, 412, b"d", BEAT.removeprefix(b"nw1")),
        _sealed(room, OTHER, 233, b"c", nonce + asked),
        _sealed(room, NODE, 413, b"r", nonce + own_nonce),
        _sealed(room, OTHER, 234, b"r", own_nonce + b" " * 8),
    ]
    for block in blocks:
        assert {len(line) for line in block.lines} == {block.size}
    assert len(shown[0]) == len(BEAT) + len(begin) - len(b"nw1#") + 41


def test_a_beacon_takes_what_is_sealed_by_the_document_alone() -> None:
    """And answers it as the document says: somebody who has only read the page meets a beacon."""
    beacon = SealedWire(lan_key(SECRET, "3b"), "3b", OTHER, Counter(), 0.0)
    beat = BEAT.removeprefix(b"nw1")
    assert beacon.open(_sealed("3b", NODE, 1, b"d", beat), A, 0.0) is None
    [(challenge, to)] = beacon.outbox
    nonce, empty = challenge[-16:-8], b" " * 8
    assert to == A
    assert challenge == _sealed("3b", OTHER, 1, b"c", nonce + NODE.encode())
    beacon.outbox.clear()
    assert beacon.open(_sealed("3b", NODE, 2, b"c", b"01234567" + b"somebody"), A, 0.0) is None
    assert not beacon.outbox, "it names another"
    assert beacon.open(_sealed("3b", NODE, 2, b"c", b"01234567" + OTHER.encode()), A, 0.0) is None
    answers = [data for data, _ in beacon.outbox]
    assert answers == [_sealed("3b", OTHER, 2, b"r", b"01234567" + empty)], "challenged there just now"
    assert beacon.open(_sealed("3b", NODE, 3, b"r", nonce + empty), A, 0.0) is None
    assert beacon.open(_sealed("3b", NODE, 4, b"d", beat), A, 0.0) == b"nw1" + beat
    assert beacon.open(_sealed("3b", NODE, 4, b"d", beat), A, 0.0) is None, "once"
    assert beacon.seal(b"nw1" + beat) == _sealed("3b", OTHER, 3, b"d", beat)


# --- strangers ---


def test_the_reasons_in_the_document_are_the_ones_in_the_code() -> None:
    said = {reason.strip("`") for _, reason in DOCUMENT.table_rows("a datagram that")}
    assert said == {*sources.SAID, wire.NOT_NWDISCO}


@pytest.mark.parametrize(
    ("data", "without", "with_one"),
    [
        (b"nwx", "not nwdisco", "not nwdisco"),
        (b"nw2[", "other version", "other version"),
        (b"nw1@abcdef(", "not nwdisco", "not nwdisco"),
        (b"nw1@abcdef[", "other room", "other room"),
        (b"nw1@abcdef#", "other room", "other room"),
        (b"nw1#", "has a secret, we have none", "other secret"),
        (b"nw1[", None, "has no secret, we have one"),
    ],
)
def test_a_stranger_is_told_apart_as_the_table_says(data: bytes, without: str | None, with_one: str) -> None:
    opened = OpenWire("").open(data, A, 0.0)
    assert opened == (data if without is None else Stranger(without, A[0]))
    assert SealedWire(lan_key(SECRET, ""), "", OTHER, Counter(), 0.0).open(data, A, 0.0) == Stranger(with_one, A[0])
