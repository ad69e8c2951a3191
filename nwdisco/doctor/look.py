"""The look at the network: two kinds of sockets as a beacon has them, questions, and what comes back in some seconds.

Who is here is asked by multicast alone, by broadcast alone, and of each node alone that answered neither. Each way has a socket,
a nonce and (with a secret) a seal of its own, so an answer shows which way the question took. What is sent to everyone comes
back to this machine too, unless something here drops it.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import sys
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from .. import config
from ..beacon.links.lan import IP_MULTICAST_ALL
from ..core import datagrams
from ..core.contacts import Address
from ..core.datagrams import Foreign, Key, Malformed, Who
from ..core.diagnosis import BROADCAST, MULTICAST, UNICAST, Double, Interface
from ..core.wire import OpenWire, Stranger, Wire
from ..settings import Settings
from .arp import Arp
from .local_beacon import Told
from .seen import SIGN_OF_LIFE, Seen

LOOK_S: Final = 3.0
"""Two beats of everybody, and a little more."""
LOOK_LIMIT_S: Final = 6.0
"""While something is missing, which may have been lost by chance."""
ASK_AT_S: Final = (0.0, 0.4)
"""Everyone; twice, because with a secret the first question brings a challenge."""
ASK_AGAIN_AT_S: Final = (0.9, 1.6, 3.1, 3.7, 4.5)
"""Only while something is missing."""
ASK_ALONE_AT_S: Final = (1.9, 2.2, 2.6, 3.3, 3.6, 4.1, 5.0)
"""Those who have answered nothing."""
ARP_OWN_AT_S: Final = (0.1, 0.9, 1.7)
ARP_OTHERS_AT_S: Final = (2.0, 2.5)
MOST_BY_ARP: Final = 64
"""Addresses of others that are asked for by ARP."""
READ_AT_ONCE: Final = 64
"""Datagrams read before the next question gets its turn."""
UNBOUND_FOR_S: Final = 1.0
"""A port that nothing of this machine has, for so long and still heard: another machine with our address."""
IP_PKTINFO: Final = 8
"""Linux: where a datagram was sent to. Python has no name for it before 3.14."""
UDP_PORTS: Final = Path("/proc/net/udp")


class Asker:
    """A socket for one way of asking, with a nonce and a wire of its own."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.nonce = _random_text(6)
        self.end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.end.setblocking(False)
        self.end.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.end.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, struct.pack("B", 1))
        self.end.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        self.end.bind(("", 0))
        self.port: int = self.end.getsockname()[1]

    def question(self, padding: int) -> bytes:
        return self.wire.seal(datagrams.encode(Who(self.nonce, " " * padding)))

    def is_answer(self, opened: bytes) -> bool:
        try:
            message = datagrams.decode(opened)
        except (Foreign, Malformed):
            return False
        return isinstance(message, Key) and message.nonce == self.nonce


class Look:
    def __init__(self, settings: Settings, interfaces: tuple[Interface, ...], told: Told) -> None:
        self.seen = Seen()
        self.looked_s = 0.0
        self.tells_ways = sys.platform == "linux"
        self.port_refused = ""
        self._settings = settings
        self._interfaces = interfaces
        self._used = [one for one in interfaces if one.used]
        self._own_ips = {one.ip for one in interfaces}
        for node, address in told.nodes:
            if address[0] not in self._own_ips:
                self.seen.known(node, address)
        for outsider in told.outsiders:
            if outsider.ip not in self._own_ips:  # it may have been a doctor with other settings
                self.seen.outsider(outsider.reason, outsider.ip)
        self._came_back: dict[str, set[str]] = {one.ip: set() for one in interfaces}
        self._sent: set[tuple[str, str]] = set()
        self._refused: dict[tuple[str, str], str] = {}
        """By interface's address and way: why the system did not send."""
        self._unbound: dict[Address, tuple[float, bool]] = {}
        """Sources with our address and a port that is not ours: when first heard, and whether still heard later."""
        make_wire = _wires(settings)
        self._listening = make_wire()
        self._selector = selectors.DefaultSelector()
        self.arp = Arp(interfaces)
        self._askers = {way: Asker(make_wire()) for way in (MULTICAST, BROADCAST, UNICAST)}
        self._shared = self._open_shared()

    def run(self) -> None:
        for way, asker in self._askers.items():
            self._selector.register(asker.end, selectors.EVENT_READ, partial(self._read_answers, way, asker))
        for packets in self.arp.sockets:
            self._selector.register(packets, selectors.EVENT_READ, partial(self.arp.read, packets))
        if self._shared is not None:
            self._selector.register(self._shared, selectors.EVENT_READ, partial(self._read_shared, self._shared))
        agenda = self._agenda()
        began_at = time.monotonic()
        while True:
            self.looked_s = time.monotonic() - began_at
            if self.looked_s >= (LOOK_LIMIT_S if self._is_puzzled() else LOOK_S):
                return
            while agenda and agenda[0][0] <= self.looked_s:
                agenda.pop(0)[1]()
            next_at = min(agenda[0][0] if agenda else LOOK_LIMIT_S, LOOK_LIMIT_S if self.looked_s >= LOOK_S else LOOK_S)
            for key, _ in self._selector.select(max(0.0, next_at - self.looked_s)):
                key.data()

    def close(self) -> None:
        self._selector.close()
        self.arp.close()
        for asker in self._askers.values():
            asker.end.close()
        if self._shared is not None:
            self._shared.close()

    def interfaces(self) -> tuple[Interface, ...]:
        """With what came back, and what could not be sent, for each."""
        found = []
        for one in self._interfaces:
            back = tuple(way for way in self._askers if way in self._came_back[one.ip])
            refused = tuple(
                (way, why) for (ip, way), why in self._refused.items() if ip == one.ip and (ip, way) not in self._sent
            )
            found.append(replace(one, came_back=back, refused=refused) if one.used else one)
        return tuple(found)

    def doubles(self) -> tuple[Double, ...]:
        """Our address: any other that has it. Others' addresses: two that have it."""
        owners = {ip: set(macs) for ip, macs in self.arp.owners.items() if len(macs) > (ip not in self._own_ips)}
        for (ip, port), (_, still_heard) in self._unbound.items():
            if still_heard:
                owners.setdefault(ip, set()).add(f"a beacon at UDP port {port}, which is not of this machine")
        return tuple(Double(ip, tuple(sorted(owners[ip])), ip in self._own_ips) for ip in sorted(owners))

    def _agenda(self) -> list[tuple[float, Callable[[], None]]]:
        own = [one.ip for one in self._used if not one.loopback]
        plan: list[tuple[float, Callable[[], None]]] = []
        plan += [(at_s, self._ask_everyone) for at_s in ASK_AT_S]
        plan += [(at_s, self._ask_again) for at_s in ASK_AGAIN_AT_S]
        plan += [(at_s, self._ask_alone) for at_s in ASK_ALONE_AT_S]
        plan += [(at_s, partial(self._ask_by_arp, lambda: own)) for at_s in ARP_OWN_AT_S]
        plan += [(at_s, partial(self._ask_by_arp, lambda: self.seen.ips()[:MOST_BY_ARP])) for at_s in ARP_OTHERS_AT_S]
        return sorted(plan, key=lambda entry: entry[0])

    def _ways(self) -> set[str]:
        """The ways to everyone that somebody can be expected to answer by."""
        return {MULTICAST, BROADCAST} if any(one.broadcast for one in self._used) else {MULTICAST}

    def _is_puzzled(self) -> bool:
        """Whether something is missing that a longer look may bring."""
        mine = [self._came_back[one.ip] for one in self._used if one.link]
        return self.seen.is_puzzling(self._ways()) or any(not {*self._ways(), UNICAST} <= back for back in mine)

    # --- asking ---

    def _ask_everyone(self) -> None:
        for one in self._used:
            asker = self._askers[MULTICAST]
            with suppress(OSError):  # the interface has gone; sending will say so
                asker.end.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(one.ip))
            question = asker.question(config.ARRIVAL_PADDING_BYTES)
            self._send(MULTICAST, one, question, (self._settings.group, self._settings.port))
            if one.broadcast is not None:
                question = self._askers[BROADCAST].question(config.ARRIVAL_PADDING_BYTES)
                self._send(BROADCAST, one, question, (one.broadcast, self._settings.port))
            self._send(UNICAST, one, one.ip.encode(), (one.ip, self._askers[BROADCAST].port))

    def _ask_again(self) -> None:
        if self._is_puzzled() or self.seen.is_empty():
            self._ask_everyone()

    def _ask_alone(self) -> None:
        asker = self._askers[UNICAST]
        question_bytes = len(asker.question(config.WHO_PADDING_BYTES))
        for address in self.seen.to_ask(question_bytes):
            with suppress(OSError):  # no answer will say as much
                asker.end.sendto(asker.question(config.WHO_PADDING_BYTES), address)

    def _ask_by_arp(self, ips: Callable[[], list[str]]) -> None:
        for ip in ips():
            self.arp.ask(ip)

    def _send(self, way: str, interface: Interface, data: bytes, to: Address) -> None:
        try:
            self._askers[way].end.sendto(data, to)
        except OSError as error:
            self._refused[interface.ip, way] = error.strerror or str(error)
        else:
            self._sent.add((interface.ip, way))

    # --- what arrives ---

    def _read_answers(self, way: str, asker: Asker) -> None:
        for _ in range(READ_AT_ONCE):
            try:
                data, source = asker.end.recvfrom(2048)
            except OSError:  # all is read; or a question could not be delivered
                break
            if source[0] in self._own_ips:
                if source[1] == self._askers[UNICAST].port:  # sent to the address that it holds, perhaps from another
                    self._came_back.get(data.decode("ascii", "replace"), set()).add(UNICAST)
                continue
            opened = asker.wire.open(data, source, time.monotonic())
            if isinstance(opened, bytes) and asker.is_answer(opened):
                self.seen.answered(source, way)
        while asker.wire.outbox:  # with a secret: challenges, and answers to them
            data, to = asker.wire.outbox.popleft()
            with suppress(OSError):
                asker.end.sendto(data, to)

    def _read_shared(self, shared: socket.socket) -> None:
        for _ in range(READ_AT_ONCE):
            try:
                data, extra, _, source = shared.recvmsg(2048, 256)
            except OSError:
                return
            ip, port = source
            own_way = next((way for way, asker in self._askers.items() if asker.port == port), None)
            if ip in self._own_ips and own_way is not None:
                self._came_back[ip].add(own_way)
                continue
            now = time.monotonic()
            opened = self._listening.open(data, source, now)
            self._listening.outbox.clear()  # it listens only
            if isinstance(opened, Stranger):
                self.seen.outsider(*opened)
            elif ip not in self._own_ips:
                self.seen.heard(data, source, self._way_of(extra))
            if ip in self._own_ips and SIGN_OF_LIFE.match(data):
                self._look_whose((ip, port), now)

    def _look_whose(self, source: Address, now: float) -> None:
        """A node at an address of ours: of this machine, unless nothing here has the port that it came from."""
        if source in self._unbound or len(self._unbound) < config.MAX_NODES_PER_MACHINE:
            if _is_bound_here(source[1]):
                self._unbound.pop(source, None)
                return
            first_at, _ = self._unbound.get(source, (now, False))
            self._unbound[source] = (
                first_at,
                now - first_at >= UNBOUND_FOR_S,
            )  # a node that ends says goodbye from a port

    def _way_of(self, extra: list[tuple[int, int, bytes]]) -> str:
        sent_to = next(
            (data[8:12] for level, kind, data in extra if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO)), b""
        )
        is_told = self.tells_ways and bool(sent_to)
        return BROADCAST if is_told and socket.inet_ntoa(sent_to) != self._settings.group else MULTICAST

    def _open_shared(self) -> socket.socket | None:
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "linux":
            end.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
            end.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        elif hasattr(socket, "SO_REUSEPORT"):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            end.bind(("", self._settings.port))
        except OSError as error:
            end.close()
            self.port_refused = error.strerror or str(error)
            return None
        group = socket.inet_aton(self._settings.group)
        for one in self._used:
            with suppress(
                OSError
            ):  # joined already, by another address of the interface; or what is sent will not come back
                end.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + socket.inet_aton(one.ip))
        return end


def _wires(settings: Settings) -> Callable[[], Wire]:
    """What makes wires of our room and secret, each for a node of its own."""
    if not settings.secret:
        return lambda: OpenWire(settings.room)
    from ..core.sealed import SealedWire
    from ..core.secret import lan_key

    key = lan_key(settings.secret, settings.room)
    return lambda: SealedWire(key, settings.room, _random_text(8), Counter(), time.monotonic())


def _random_text(length: int) -> str:
    return urlsafe_b64encode(os.urandom(length))[:length].decode()


def _is_bound_here(port: int) -> bool:
    """Whether a UDP socket of this machine has a port; True where the system does not tell."""
    try:
        lines = UDP_PORTS.read_text().splitlines()[1:]
    except OSError:
        return True
    return any(int(line.split()[1].rpartition(":")[2], 16) == port for line in lines)
