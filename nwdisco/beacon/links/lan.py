"""The LAN link: two UDP sockets and a clock around core/lan.py.

One socket is bound to the well-known port and shared with the beacons of other users of this machine: it hears what is sent to
everybody. The other has a port of its own: everything is sent from it, so answers reach this very beacon.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from random import SystemRandom

from ... import config
from ...core.advert import Advert
from ...core.directory import Directory
from ...core.lan import Lan
from ...core.sources import Sources, Strangers
from ...core.telling import BROADCAST, EVERYONE, MULTICAST
from ...core.wire import OpenWire, Wire
from ...errors import BeaconError
from ...settings import Settings
from ..interfaces import Interface, interfaces
from ..loop import Loop, Timer, log

INTERFACES_EVERY_S = 1.0
"""How often the machine's interfaces are looked at."""
READ_FOR_S = 0.001
"""How long datagrams are read before programs get their turn again; in a flood, each costs what the flooder likes."""
RECEIVE_BUFFER = 4 * 1024 * 1024
"""Asked of the system for each socket (it may give less): room for the answers when everybody starts at once."""
IP_MULTICAST_ALL = 49
"""Linux: whether a socket hears groups that others on this machine joined. Python has no name for it."""


class LanLink:
    def __init__(
        self, loop: Loop, directory: Directory, settings: Settings, on_moved: Callable[[list[Interface]], None]
    ) -> None:
        """`on_moved` hears of each change of this machine's interfaces."""
        self._loop = loop
        self._settings = settings
        self._on_moved = on_moved
        self.interfaces = interfaces(settings.interfaces)
        self.lan = Lan(directory, SystemRandom(), self._loop.time())
        self._wire = self._make_wire()
        self._sources = Sources()
        self.strangers = Strangers()
        self._wake: Timer | None = None
        self._multicast_from = ""
        """The interface's address that multicast leaves by now."""
        self._on_settled: list[Callable[[], None]] = []
        self._stopped = False
        self._said_failures: set[int] = set()
        self._shared = self._open_shared()
        self._own = self._open_own()
        directory.on_own.append(self._own_change)

    def start(self) -> None:
        self._join(self.interfaces)
        self._loop.add_reader(self._shared, self._read, self._shared, False)
        self._loop.add_reader(self._own, self._read, self._own, True)
        self.lan.start(self._loop.time())
        self._loop.call_later(INTERFACES_EVERY_S, self._look_at_interfaces)
        for moment_s in (config.SETTLE_S, config.SETTLE_LIMIT_S):  # a quiet LAN wakes nobody before the first beat
            self._loop.call_later(moment_s, self._look_whether_settled)
        self._woken()

    def stop(self) -> None:
        """Say goodbye and close."""
        self._stopped = True
        self.lan.stop()
        self._flush()
        if self._wake is not None:
            self._wake.cancel()
        for end in (self._shared, self._own):
            self._loop.remove_reader(end)
            end.close()

    def _settled(self) -> bool:
        return self.lan.settled(self._loop.time())

    def when_settled(self, action: Callable[[], None]) -> None:
        """Call once what is on the LAN is known; at once if it is."""
        if self._settled():
            action()
        else:
            self._on_settled.append(action)

    def _make_wire(self) -> Wire:
        settings, lan = self._settings, self.lan
        if not settings.secret:
            return OpenWire(settings.room)
        from ...core.sealed import SealedWire
        from ...core.secret import lan_key

        key = lan_key(settings.secret, settings.room)
        return SealedWire(key, settings.room, lan.node, lan.counters, self._loop.time())

    # --- what happens ---

    def _own_change(self, name: str, advert: Advert | None) -> None:
        self.lan.own_change(name, advert, self._loop.time())
        self._flush()
        self._plan_wake()

    def _read(self, end: socket.socket, direct: bool) -> None:
        now = self._loop.time()
        while self._loop.time() - now < READ_FOR_S:
            try:
                data, source = end.recvfrom(2048)
            except BlockingIOError:
                break
            except OSError as error:  # an answer that could not be delivered, reported to the socket by some systems
                self._failed(error)
                break
            if not self._sources.admits(source[0], now):
                self.lan.counters["over_rate"] += 1
                continue
            opened = self._wire.open(data, source, now)
            if isinstance(opened, bytes):
                self.lan.receive(opened, source, now, direct)
            elif opened is not None:
                self.lan.counters["foreign"] += 1
                if self.strangers.note(opened, now):
                    log(self.strangers.first_words(opened))
        self._flush()
        self._plan_wake()
        self._look_whether_settled()

    def _woken(self) -> None:
        self._wake = None
        self.lan.wake(self._loop.time())
        self._flush()
        self._plan_wake()
        self._look_whether_settled()

    def _plan_wake(self) -> None:
        due = self.lan.due
        if due is None or self._stopped:
            return
        if self._wake is not None:
            if self._wake.when() <= due:
                return
            self._wake.cancel()
        self._wake = self._loop.call_at(due, self._woken)

    def _look_whether_settled(self) -> None:
        if self._on_settled and self._settled():
            actions, self._on_settled = self._on_settled, []
            for action in actions:
                action()

    # --- sending ---

    def _flush(self) -> None:
        answers, outbox = self._wire.outbox, self.lan.outbox
        while answers:
            self._send(*answers.popleft())
        while outbox:
            datagram, to = outbox.popleft()
            data = self._wire.seal(datagram)
            if isinstance(to, tuple):
                self._send(data, to)
                continue
            for interface in self.interfaces:
                if to in (EVERYONE, MULTICAST):
                    self._multicast(data, interface)
                if to in (EVERYONE, BROADCAST) and interface.broadcast is not None:
                    self._send(data, (interface.broadcast, self._settings.port))

    def _multicast(self, data: bytes, interface: Interface) -> None:
        if self._multicast_from != interface.ip:
            try:
                self._own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface.ip))
            except OSError as error:  # the interface has gone since we last looked
                self._failed(error)
                return
            self._multicast_from = interface.ip
        self._send(data, (self._settings.group, self._settings.port))

    def _send(self, data: bytes, to: tuple[str, int]) -> None:
        try:
            self._own.sendto(data, to)
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        """Networks come and go: count it, say it once, and leave the healing to the protocol."""
        self.lan.counters["send_failed"] += 1
        if error.errno is not None and error.errno not in self._said_failures:
            self._said_failures.add(error.errno)
            log(f"a datagram could not be sent: {error.strerror} (said once; counted as send_failed)")

    # --- interfaces and sockets ---

    def _look_at_interfaces(self) -> None:
        if self._stopped:
            return
        self._loop.call_later(INTERFACES_EVERY_S, self._look_at_interfaces)
        try:
            found = interfaces(self._settings.interfaces)
        except OSError as error:  # no files left, say: look again the next time
            self._failed(error)
            return
        if found == self.interfaces:
            return
        log("interfaces are now: " + (", ".join(f"{i.name} {i.ip}" for i in found) or "none"))
        self._leave([interface for interface in self.interfaces if interface not in found])
        self._join([interface for interface in found if interface not in self.interfaces])
        self.interfaces = found
        self._multicast_from = ""
        self._said_failures.clear()
        self.lan.moved(self._loop.time())
        self._flush()
        self._plan_wake()
        self._on_moved(found)

    def _join(self, added: list[Interface]) -> None:
        for interface in added:
            try:
                self._membership(socket.IP_ADD_MEMBERSHIP, interface)
            except OSError as error:  # joined before under another address of the interface; or one without multicast
                log(f"not joined on {interface.name} ({interface.ip}): {error.strerror}")

    def _leave(self, gone: list[Interface]) -> None:
        for interface in gone:
            try:
                self._membership(socket.IP_DROP_MEMBERSHIP, interface)
            except OSError as error:  # the interface took the membership with it
                log(f"not left on {interface.name} ({interface.ip}): {error.strerror}")

    def _membership(self, option: int, interface: Interface) -> None:
        group = socket.inet_aton(self._settings.group)
        self._shared.setsockopt(socket.IPPROTO_IP, option, group + socket.inet_aton(interface.ip))

    def _open_shared(self) -> socket.socket:
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform != "linux" and hasattr(socket, "SO_REUSEPORT"):  # BSD and macOS share ports by this one
            end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sys.platform == "linux":
            end.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        try:
            end.bind(("", self._settings.port))
        except OSError as error:
            end.close()
            raise BeaconError(
                f"UDP port {self._settings.port} cannot be used ({error.strerror}): end the program that has it, or set"
                " NWDISCO_PORT to another one, the same on all machines"
            ) from error
        return end

    def _open_own(self) -> socket.socket:
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        end.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, struct.pack("B", 1))
        end.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)  # other users of this machine
        end.bind(("", 0))
        return end
