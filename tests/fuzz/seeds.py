"""What a fuzzer begins with: for each target, valid inputs that reach everything, made by the code that they are for."""

from __future__ import annotations

import json
from collections.abc import Iterable

from nwdisco.core import control, datagrams, etcd
from nwdisco.core.advert import Advert
from nwdisco.core.datagrams import Ask, Beat, Bye, Change, Entry, Key, Message, Who
from nwdisco.core.framed import LENGTH

from . import lan
from .script import script

FULL = Entry("printer/ä", 6, ":8080", 0.25, 2, 5.0, {"colour": "yes", "text": 'a\n"\\'})
NONCE, COOKIE = "QRmIhG", "OIKmA8"
DATAGRAMS = tuple(
    datagrams.encode(message)
    for message in (
        Beat("RXx2n2RB", 10_001, 7, 3),
        Change("RXx2n2RB", 10_002, 1, 0, 5, 8, [FULL, Entry("gone", 7), Entry("lamp", 8, "192.168.1.7:80")]),
        Who(NONCE, " " * 10),
        Key(NONCE, COOKIE),
        Ask(COOKIE, 0, 471),
        Bye("RXx2n2RB", 10_003),
    )
)

_REST = " node-two 000000000007 "
SEALED = (
    *(
        f"\0{_REST}{body}".encode()
        for body in ('d["beat","node-two",10000,0,0]', "cabcdefghnode-own", "rabcdefghstuvwxyz")
    ),
    f"\xff{_REST}d".encode("latin-1"),
    b"\0nw1#" + b"A" * 16 + f"{_REST}d[]".encode(),
)
"""A room's byte, and what follows the tag."""

# --- the LAN: scripts of lan.py. A step's byte: source, + 8 direct, + 16 per pause, + 64 per action ---

DIRECT, MOMENT, WHILE, LIFE = 8, 16, 32, 48
OWN, MOVED = 128, 192
_node = lan.Node()
_proofs = [_node.lan.contacts.proof_for(source) for source in lan.SOURCES]
_all = _node.lan.contacts.nonce_for_all


def _told(*steps: tuple[int, Message | bytes]) -> bytes:
    return script(*((how, what if isinstance(what, bytes) else datagrams.encode(what)) for how, what in steps))


def _change(node: str, seq: int, since: int, until: int, *entries: Entry, place: int = 0, horizon: int = 0) -> Change:
    return Change(node, seq, place, horizon, since, until, list(entries))


LAN = (
    _told(  # a stranger asks, proves itself, is answered
        (3 + DIRECT, Who(NONCE, " " * 20)),
        (3 + DIRECT, Ask(_proofs[3], 0, 0)),
        (3 + DIRECT + WHILE, Ask(_proofs[3], 0, 2)),
    ),
    _told((4 + DIRECT, Who(NONCE, "probe" + " " * 20)), (4, Who(NONCE, " " * 70)), (OWN + LIFE, b"a"), (OWN, b"a")),
    _told(  # newcomers, one that answers us, one that is behind, and their end
        (1, Beat("node-tre", 10_000, 3, 2)),
        (1, _change("node-tre", 10_001, 1, 3, Entry("b", 2, ":1"), Entry("ours", 3, "1.2.3.4:5", 0.0, 2**31))),
        (1 + MOMENT, Key(_all, COOKIE)),
        (1 + DIRECT, Key(_proofs[1], COOKIE)),
        (1 + LIFE, _change("node-tre", 10_002, 0, 1, Entry("c", 1, ":2", 1.5, 1, 1.0))),
        (1, Bye("node-tre", 10_003)),
    ),
    _told(  # the peer that is known: more, less, forged versions, a move, silence
        (0, _change("node-two", 10_002, 2, 4, Entry("a", 3), FULL)),
        (0, Beat("node-two", 10_003, 9, 1)),
        (2 + MOMENT, _change("node-two", 10_004, 4, 5, Entry("z", 5, "1.1.1.1:1"), place=1, horizon=3)),
        (0 + WHILE, Beat("node-two", 10_005, 0, 0)),
        (0 + DIRECT, Key(_proofs[0], COOKIE)),
        (MOVED + LIFE, b"x"),
    ),
    _told(*((number + MOMENT, Beat(f"node-x{number:02}", 10_000, 0, 0)) for number in range(1, 8))),
    _told(  # very many entries, then very many addresses
        (5, _change("node-big", 1, 0, 9, *(Entry(f"n{number}", number + 1, ":1") for number in range(9)))),
        *((number, Who(NONCE, " " * number)) for number in range(8)),
        (6 + LIFE, b"hello"),
    ),
    _told((7, _change("node-erl", 5, 2, 3)), (7, _change("node-erl", 6, 4, 5)), (7, _change("node-erl", 7, 6, 7))),
)

# --- doors: scripts of doors.py. A step's byte: client, + 4 per pause, + 16 per size of the pieces, + 128 for the end ---

CONTROL_REQUESTS: tuple[object, ...] = (
    control.Advertise("x", ":80", {"k": "v"}, 5.0, True, 2.0),
    control.Advertise("a/c", "10.0.0.5:1"),
    control.Unadvertise("x"),
    control.Unadvertise(),
    control.Discover("a/b"),
    control.Discover("y", 0.5),
    control.Discover("y", None),
    control.List(),
    control.List("a", "/", ["a/b"]),
    control.Watch("a"),
    control.Watch(),
    control.Status(),
    control.Stop(),
)
CONTROL = tuple(control.encode(request) for request in CONTROL_REQUESTS)
GREETED = control.GREETING + b"\n"
CONTROL_DOOR = (
    *(script((number % 128, GREETED + request)) for number, request in enumerate(CONTROL)),
    script((0x10, GREETED + b"".join(CONTROL[:5])), (0x25, GREETED + CONTROL[9] + CONTROL[0]), (0x04, CONTROL[2])),
    script(
        (1, GREETED + CONTROL[5]),
        (0x0A, GREETED + CONTROL[6]),
        (0x30, GREETED + b'{"do":"advertise","name":"y","address":":1"}\n'),
    ),
    script((0x00, b"hello\n"), (0x00, b"nwdisco-control 2\n"), (0x81, GREETED + CONTROL[7])),
    script((0x00, GREETED + CONTROL[6] + b"x" * 520)),
)

LINES: tuple[dict[str, object], ...] = (
    {"type": "register", "key": "k", "values": "10.0.0.1:80", "timeout": "5", "properties": {"a": "b"}},
    {"type": "register", "key": "a/k", "values": "redis://x", "timeout": 5},
    {"type": "register", "key": "k", "values": "v"},
    {"type": "query", "key": "all"},
    {"type": "query", "key": "a/b"},
    {"type": "destruction", "key": "k"},
    {"type": "heartbeat", "key": "k"},
    {"type": "watch", "key": "all"},
    {"action": "register", "type": "a", "ip": "0.0.0.0", "port": 80},
    {"action": "heartbeat", "uuid": "uuid-1"},
    {"action": "heartbeat", "service_uuid": "uuid-1"},
    {"action": "query", "type": "a"},
    {"action": "watch", "type": "a"},
)


def _line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\r\n"


def _frame(value: object) -> bytes:
    content = json.dumps(value).encode()
    header = {"byteorder": "little", "content-type": "text/json", "content-encoding": "utf-8"}
    header_bytes = json.dumps({**header, "content-length": len(content)}).encode()
    return LENGTH.pack(len(header_bytes)) + header_bytes + content


def _together(lines: Iterable[bytes]) -> bytes:
    return b"".join(lines)


SHIM_LINES = (*map(_line, LINES), _together(map(_line, LINES)), b"\xef\xbb\xbf\r\n" + _line(LINES[3]) + b"hello\n")
SHIM_FRAMED = tuple(_frame(line) for line in LINES if "action" in line)
SHIM_DOOR = (
    *(script((number * 16 % 128, line)) for number, line in enumerate(SHIM_LINES)),
    *(script((number * 16 % 128, frame)) for number, frame in enumerate(SHIM_FRAMED)),
    script((0x10, _line(LINES[0]) + _line(LINES[7])), (0x21, _line(LINES[1])), (0x0E, _line(LINES[3])), (0x80, b"x")),
    script((0x00, SHIM_FRAMED[0]), (0x0D, SHIM_FRAMED[1]), (0x12, SHIM_FRAMED[3]), (0x0E, _line(LINES[11]) * 5)),
    script((0x40, _line(LINES[8]) * 6), (0x0D, _line(LINES[9])), (0x42, _line(LINES[12]) + _line(LINES[11]) * 4)),
)

# --- NetworkZero: datagrams; scripts of networkzero.py. A step's byte: source, + 4 per pause, + 16 per action ---

NETWORKZERO = (
    b'["x","a:1",20]',
    b'["chat/\\u00e4", "10.0.0.1:80", 20.5]',
    b'["x","a:1",null]',
    b'["x","a:1",0]',
    b'["x","127.0.0.1:80",20]\n',
    b'["y","localhost:80",1e3]',
)
NETWORKZERO_LINK = (
    script(*((number, said) for number, said in enumerate(NETWORKZERO[:4]))),
    script(
        (0, NETWORKZERO[0]), (8, NETWORKZERO[5]), (1, b'["x","b:2",20]'), (13, b'["ours","c:3",null]'), (0xF0, b"x")
    ),
    script((0xF4, b"a"), (0xD8, b"b"), (0xCC, b"b"), (0xE4, b"a"), (1, b'["na","10.0.0.9:80",4]'), (0xF0, b"a")),
    script((1, b'["x","127.:' + b"9" * 241 + b'",9]')),  # as long as a datagram may be, and longer as it is reached
    script(*((4, b'["n%d","a:1",20]' % number) for number in range(7)), (0x0C, b""), (1, b'["n1","127.1:9",20]')),
)
RPC_REQUESTS: tuple[list[object], ...] = (
    ["advertise", "x", None, False, 20],
    ["advertise", "x", "10.0.0.1:5", True, None],
    ["advertise", "y", 8080, 0, 1e300],
    ["advertise", "z", "somewhere:80"],
    ["advertise", "w", "192.168.*:80", None, -1],
    ["unadvertise", "x"],
    ["discover", "x", 0.5],
    ["discover", "n78", None],
    ["discover_all", 0.5],
    ["discover_all"],
    ["pause"],
    ["resume"],
    ["reset"],
    ["stop"],
)
RPC = tuple(json.dumps(request).encode() for request in RPC_REQUESTS)
NETWORKZERO_RPC = (
    *(script((0, request)) for request in RPC),
    script((0, RPC[7]), (0, RPC[6]), (8, RPC[8]), (0xF0, b"x"), (0, RPC[0]), (4, RPC[1]), (0, RPC[12]), (0xFC, b"x")),
    script(*((0, request) for request in RPC)),
    script(*((0, b'["advertise","n%d"]' % number) for number in range(6)), *((0, RPC[7]),) * 5),
)

# --- messages between programs: frames, separated like a script's steps ---

MESSAGES = (
    b'"hello"',
    b'{"a":[1,2.5,null,true,"\\u00e4\\ud83d\\ude00"]}',
    b'[["deep",["er",{"x":{}}]],-1e-7]',
    script((0x74, b"opic"), (0x22, b'news"')),
    script((0x74, b"opic"), (0x7B, b'"temperature":21.5}')),
)

# --- etcd: a key, a zero byte, a value; scripts of etcd.py. A step's byte: action, + 8 our lease, + 16 per node ---

_ADVERT = Advert("shop/a", "10.0.0.2:80", {"k": "v"}, 5.0, "node-two", "node-two", -2.5, 3)
_VALUE = etcd.encode(_ADVERT, _ADVERT.address, 0.0)
ETCD = (
    etcd.PREFIX + b"node-two/shop/a\x00" + _VALUE,
    etcd.PREFIX + b"node-tre/x\x00" + b'{"address":":80"}',
    b"Hello/7587\x00host:1234",
    b"Hello/7587\x0010.0.0.1:1",
)
ETCD_IMPORTS = (
    *(script((0, entry)) for entry in ETCD),
    script(*((0, entry) for entry in ETCD), *((action, ETCD[0]) for action in (2, 3, 4, 1, 5, 13))),
    script((0, ETCD[0]), (2, b""), (0, ETCD[0]), (3, b""), (0xF6, ETCD[1]), (1, ETCD[2]), (12, b""), (8, ETCD[3])),
    script(*((0, etcd.PREFIX + b"node-x%02d/n\x00" % number + _VALUE) for number in range(9))),
    script(*((0, b"Hello/%d\x00h:1" % number) for number in range(9))),
)

# --- registries: steps of a key, a zero byte, a value; a step's byte says nothing ---

_INSTANCE = b"default/services/printer/a1"
REGISTRY = (
    script((32, _INSTANCE + b'\x00{"hostname":"10.0.0.1","port":80,"weight":2.5,"up":true}')),
    script(
        (32, _INSTANCE + b"/hostname\x00[::1]"),
        (32, _INSTANCE + b"/port\x0080"),
        (32, _INSTANCE + b'\x00["hostname","port"]'),
    ),
    script((32, b"Hello/7587\x00host:1234"), (32, b"Hello/7588\x0010.0.0.1:1")),
    script((32, _INSTANCE + b"/port\x0080"), (32, _INSTANCE + b"/protocol\x00https")),
)
