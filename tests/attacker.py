"""An attacker on a host of its own: records, replays, forges (source addresses too), floods. For tests only; needs root.

It runs as a program that is told what to do by lines on its standard input, as tests/agent.py is: [verb, args, kwargs]; answers
are JSON lines. It sends through a raw IPv4 socket, so that it writes the source address itself, and it hears the whole cable,
others' unicast too where the switch lets it (`Network` with a hub: tests/test_attacker_hosts.py).
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import count, cycle
from typing import Any, NamedTuple

from nwdisco.core.datagrams import Ask, Beat, Bye, Change, Entry, Foreign, Key, Malformed, Message, Who, decode, encode

Address = tuple[str, int]

HEADERS = 28
"""Bytes of IPv4 and UDP around each datagram."""
ETH_P_ALL = 0x0003
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1
SLICE_S = 0.001
"""A flood is sent in slices: what is due by then."""
MOST_RECORDED = 20_000
FALSE_NAME = "false/"
"""Begins the name of each advert that was made up here."""


class Heard(NamedTuple):
    """A datagram that went over the cable."""

    data: bytes
    source: Address
    to: Address


class Wiretap:
    """Everything in UDP that comes by, from and to whomever."""

    def __init__(self, interface: str) -> None:
        self._heard: deque[Heard] = deque(maxlen=MOST_RECORDED)
        self._end = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._end.bind((interface, ETH_P_ALL))
        number = socket.if_nametoindex(interface)
        everything = struct.pack("IHH8s", number, PACKET_MR_PROMISC, 0, b"")
        self._end.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, everything)
        self.is_on = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def all(self) -> list[Heard]:
        return list(self._heard.copy())  # which goes on growing meanwhile

    def _listen(self) -> None:
        while True:
            packet, origin = self._end.recvfrom(4096)
            if not self.is_on.is_set() or origin[2] == socket.PACKET_OUTGOING or len(packet) < HEADERS:
                continue
            if packet[0] == 0x45 and packet[9] == socket.IPPROTO_UDP:
                source_port, to_port, length = struct.unpack("!HHH", packet[20:26])
                source = socket.inet_ntoa(packet[12:16]), source_port
                to = socket.inet_ntoa(packet[16:20]), to_port
                if packet[HEADERS : HEADERS + 2] == b"nw":
                    self._heard.append(Heard(packet[HEADERS : 20 + length], source, to))


class Forger:
    """Sends datagrams with any source address."""

    def __init__(self, own_ip: str) -> None:
        self._end = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._end.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._end.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own_ip))
        self._end.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        self.refused = 0
        """Datagrams that the system did not take: they do not count as sent."""

    def send(self, data: bytes, source: Address, to: Address) -> None:
        ip = struct.pack(
            "!BBHHHBBH4s4s",
            0x45,
            0,
            HEADERS + len(data),
            0,
            0,
            1,
            socket.IPPROTO_UDP,
            0,
            socket.inet_aton(source[0]),
            socket.inet_aton(to[0]),
        )
        udp = struct.pack("!HHHH", source[1], to[1], 8 + len(data), 0)
        try:
            self._end.sendto(ip + udp + data, (to[0], 0))
        except OSError:  # its own queue is full, or it has no way there: what counts is what was sent
            self.refused += 1


def parsed(heard: Heard) -> Message | None:
    """The message, which a seal does not hide."""
    _, is_sealed, rest = heard.data.partition(b"#")
    try:
        return decode(b"nw1" + rest.split(b" ", 3)[3][1:] if is_sealed else heard.data)
    except (Foreign, Malformed):
        return None


def node_of(number: int) -> str:
    """A node id that nobody has."""
    return f"x{number:07}"


def address_of(number: int) -> Address:
    """One of many addresses, none of which is on the LAN."""
    number %= 60_000
    return f"10.200.{number // 250}.{number % 250 + 1}", 1024 + number


def false_change(number: int, entries: int = 1) -> bytes:
    made = [Entry(f"{FALSE_NAME}{number}/{e}", e + 1, "10.66.66.66:6") for e in range(entries)]
    return encode(Change(node_of(number), 20_000 + number, 0, 0, 0, entries, made))


class Attacker:
    def __init__(self, interface: str, own_ip: str, group: str, port: int) -> None:
        self._own: Address = own_ip, 6666
        self._everyone: Address = group, port
        self._tap = Wiretap(interface)
        self._forger = Forger(own_ip)

    # --- what it hears ---

    def record(self) -> None:
        self._tap.is_on.set()

    def recorded(self) -> dict[str, int]:
        """How much was recorded, by kind: of an open LAN the message's, of a sealed one d, c or r."""
        return dict(Counter(self._kind(heard) for heard in self._tap.all()))

    def stop_recording(self) -> None:
        self._tap.is_on.clear()

    def nodes(self) -> list[tuple[str, str, int]]:
        """Node ids heard on an open LAN, with their addresses."""
        return [(node, *address) for node, (address, _) in self._nodes().items()]

    def senders(self) -> list[Address]:
        """Addresses that sent something, in the order of when they last did."""
        return list(dict.fromkeys(heard.source for heard in reversed(self._tap.all())))[::-1]

    def _nodes(self) -> dict[str, tuple[Address, int]]:
        found: dict[str, tuple[Address, int]] = {}
        for heard in self._tap.all():
            message = parsed(heard)
            if isinstance(message, Beat | Change) and not message.node.startswith("x0"):
                found[message.node] = heard.source, message.seq
        return found

    @staticmethod
    def _kind(heard: Heard) -> str:
        _, is_sealed, rest = heard.data.partition(b"#")
        return rest.split(b" ", 3)[3][:1].decode() if is_sealed else type(parsed(heard)).__name__.lower()

    # --- floods ---

    def flood(self, what: str, rate: float, seconds: float, to: Address | None = None) -> dict[str, float]:
        """So many datagrams a second; what was really sent, and how fast."""
        stream: Iterator[tuple[bytes, Address]] = getattr(self, "_" + what.replace("-", "_"))()
        target = self._everyone if to is None else (to[0], to[1])
        refused, sent, size = self._forger.refused, 0, 0
        began_at = time.monotonic()
        while (passed_s := time.monotonic() - began_at) < seconds:
            while sent < passed_s * rate:
                data, source = next(stream)
                self._forger.send(data, source, target)
                sent += 1
                size += len(data)
            time.sleep(SLICE_S)
        passed_s = time.monotonic() - began_at
        sent -= self._forger.refused - refused
        return {"sent": sent, "seconds": round(passed_s, 3), "rate": round(sent / passed_s), "bytes": size}

    def _known_beats(self) -> Iterator[tuple[bytes, Address]]:
        """Of nodes that are there, from here."""
        known = list(self._nodes())
        for number, node in zip(count(1), cycle(known), strict=False):
            yield encode(Beat(node, 100_000 + number, 0, 0)), self._own

    def _known_beats_forged(self) -> Iterator[tuple[bytes, Address]]:
        """The same, from the nodes' own addresses."""
        known = list(self._nodes().items())
        for number, (node, (address, _)) in zip(count(1), cycle(known), strict=False):
            yield encode(Beat(node, 100_000 + number, 0, 0)), address

    def _new_nodes(self) -> Iterator[tuple[bytes, Address]]:
        """Of nodes that nobody has heard of, from here."""
        for number in count():
            yield self._new(number), (self._own[0], 1024 + number % 60_000)

    def _new_nodes_forged(self) -> Iterator[tuple[bytes, Address]]:
        """The same, each from an address of its own."""
        for number in count():
            yield self._new(number), address_of(number)

    @staticmethod
    def _new(number: int) -> bytes:
        return false_change(number) if number % 2 else encode(Beat(node_of(number), 20_000, 7, 3))

    def _many_adverts_forged(self) -> Iterator[tuple[bytes, Address]]:
        """Adverts, as many as fit a datagram, of nodes that nobody has heard of."""
        for number in count():
            yield false_change(number, 25), address_of(number)

    def _questions_forged(self) -> Iterator[tuple[bytes, Address]]:
        for number in count():
            yield encode(Who(f"{number % 1_000_000:06}", " " * 70)), address_of(number)

    def _garbage_forged(self) -> Iterator[tuple[bytes, Address]]:
        for number in count():
            yield b'nw1["beat",%d' % number, address_of(number)

    def _badly_sealed_forged(self) -> Iterator[tuple[bytes, Address]]:
        """What has the form of a sealed datagram, and no right seal."""
        for number in count():
            body = b'["beat","%s",20000,7,3]' % node_of(number).encode()
            yield b"nw1#%s %s %012d d%s" % (b"A" * 16, node_of(number).encode(), number, body), address_of(number)

    def _replay(self) -> Iterator[tuple[bytes, Address]]:
        """All that was recorded, again and again, from here."""
        for heard in cycle(self._tap.all()):
            yield heard.data, self._own

    def _replay_forged(self) -> Iterator[tuple[bytes, Address]]:
        """The same, from where it came from."""
        for heard in cycle(self._tap.all()):
            yield heard.data, heard.source

    # --- byes ---

    def byes(self, forged: bool, times: int = 20) -> int:
        """Say goodbye in the name of each node that is there; how many datagrams."""
        said = 0
        for _ in range(times):
            for node, (address, seq) in self._nodes().items():
                bye = encode(Bye(node, seq + 1_000_000))
                self._forger.send(bye, address if forged else self._own, self._everyone)
                said += 1
            time.sleep(0.02)
        return said

    # --- in the name of a third ---

    def ask_in_the_name_of(self, third: Address, victim: Address, kind: str, times: int, rate: float) -> dict[str, int]:
        """Send a victim datagrams that seem to come from a third; how much was asked in its name."""
        make = self._askers()[kind]
        sent, size, began_at = 0, 0, time.monotonic()
        for data, to in make(victim):
            wait_s = began_at + sent / rate - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
            self._forger.send(data, (third[0], third[1]), to)
            sent += 1
            size += len(data)
            if sent == times:
                break
        return {"datagrams": sent, "bytes": size, "bytes_on_the_wire": size + HEADERS * sent}

    def _askers(self) -> dict[str, Callable[[Address], Iterator[tuple[bytes, Address]]]]:
        return {
            "who": lambda victim: self._each(victim, lambda n: Who(f"{n % 1_000_000:06}", " " * 10)),
            "who to everyone": lambda _: self._each(self._everyone, lambda n: Who(f"{n % 1_000_000:06}", " " * 70)),
            "shortest who": lambda victim: self._each(victim, lambda n: Who(f"{n % 1_000_000:06}")),
            "beat": lambda victim: self._each(victim, lambda n: Beat(node_of(n), 10_000, 7, 3)),
            "beats of one node": lambda victim: self._each(victim, lambda n: Beat(node_of(0), 10_000 + n, n + 1, 3)),
            "change": lambda victim: self._each(victim, self._gap),
            "ask": lambda victim: self._each(victim, lambda n: Ask(f"{n % 1_000_000:06}", 0, 0)),
            "key": self._keys,
            "key and gaps": self._keys_and_gaps,
            "sealed": lambda victim: self._again(b"d", victim),
            "challenge": lambda victim: self._again(b"c", victim),
            "response": lambda victim: self._again(b"r", victim),
        }

    @staticmethod
    def _each(to: Address, make: Callable[[int], Message]) -> Iterator[tuple[bytes, Address]]:
        for number in count():
            yield encode(make(number)), (to[0], to[1])

    @staticmethod
    def _gap(number: int) -> Message:
        """A change of a node of which everything before is missing, and more between."""
        at = 10 * number + 5
        return Change(node_of(0), 10_000 + number, 0, 0, at, at + 1, [])

    def _keys(self, victim: Address) -> Iterator[tuple[bytes, Address]]:
        """Answers to the question that the victim asked of everyone."""
        nonces = [
            message.nonce
            for heard in self._tap.all()
            if heard.source == tuple(victim)
            and heard.to == self._everyone
            and isinstance(message := parsed(heard), Who)
        ]
        assert nonces, "the victim asked nobody while this was recorded"
        return self._each(victim, lambda n: Key(nonces[-1], "cookie", " " * 60))

    def _keys_and_gaps(self, victim: Address) -> Iterator[tuple[bytes, Address]]:
        """A cookie for the victim, then changes with gaps to be asked for with it."""
        yield next(self._keys(victim))
        yield from self._each(victim, self._gap)

    def _again(self, kind: bytes, victim: Address) -> Iterator[tuple[bytes, Address]]:
        found = [heard.data for heard in self._tap.all() if self._kind(heard) == kind.decode()]
        assert found, f"none of kind {kind.decode()} was recorded"
        for data in cycle(found):
            yield data, (victim[0], victim[1])


def main(interface: str, own_ip: str, group: str, port: str) -> None:
    attacker = Attacker(interface, own_ip, group, int(port))
    verbs = {"record", "recorded", "stop_recording", "nodes", "senders", "flood", "byes", "ask_in_the_name_of"}
    print(json.dumps({"pid": 0}), flush=True)
    for line in sys.stdin:
        verb, args, kwargs = json.loads(line)
        answer: dict[str, Any]
        try:
            assert verb in verbs, f"no such verb: {verb}"
            answer = {"value": getattr(attacker, verb)(*args, **kwargs)}
        except Exception as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
