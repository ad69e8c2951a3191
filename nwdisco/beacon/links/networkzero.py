"""The NetworkZero link: two UDP sockets around core/networkzero.py and core/networkzero_exports.py.

One socket is bound to NetworkZero's port and shared with the beacons of other users of this machine; from the other, of a
port of its own, everything is sent. So adverts are told even while a NetworkZero program has the port for itself.
"""

from __future__ import annotations

import socket
import sys
from collections import Counter
from collections.abc import Callable
from random import SystemRandom

from ... import config
from ...core.advert import Advert
from ...core.directory import Directory, Event
from ...core.networkzero import Heard, Imports, as_reached, decode
from ...core.networkzero_exports import Exports
from ...core.refused import Refused
from ..interfaces import Interface
from ..loop import Loop, Timer, log

READ_AT_ONCE = 64
"""Datagrams read before programs get their turn again."""
READ_BYTES = 2048
"""More than any datagram of NetworkZero's, so that one that is too long is seen as such."""
RECEIVE_BUFFER = 1024 * 1024


class NetworkzeroLink:
    def __init__(
        self,
        loop: Loop,
        directory: Directory,
        life_of: Callable[[Advert], float],
        port: int = config.NETWORKZERO_PORT,
    ) -> None:
        """`life_of` gives the seconds that NetworkZero is to keep an advert."""
        now = loop.time()
        self._loop = loop
        self._port = port
        self.counters: Counter[str] = Counter()
        self._heard = Heard()
        self.imports = Imports(directory, self.counters, now)
        self.exports = Exports(directory, SystemRandom(), self._heard, self.counters, life_of, now)
        self._broadcasts: dict[str, str] = {}
        """The broadcast address of each interface, by its IP."""
        self._own_ips: set[str] = set()
        self._shared: socket.socket | None = None
        self._own = _open_own()
        self._own_port: int = self._own.getsockname()[1]
        self._wake: Timer | None = None
        self._said_failures: set[int] = set()
        self._stopped = False
        directory.on_event.append(self._on_event)

    @property
    def address(self) -> str | None:
        """Where it hears NetworkZero; None where it cannot."""
        return None if self._shared is None else "{}:{}".format(*self._shared.getsockname())

    def open(self) -> str | None:
        """Listen, unless it does already; why not, where it cannot."""
        if self._shared is None:
            try:
                self._shared = _open_shared(self._port)
            except OSError as error:
                return f"UDP port {self._port}: {error.strerror}"
            self._loop.add_reader(self._shared, self._read, self._shared)
        return None

    def moved(self, interfaces: list[Interface]) -> None:
        """These interfaces are used from now on."""
        self._broadcasts = {i.ip: i.broadcast for i in interfaces if i.broadcast is not None}
        self._own_ips = {interface.ip for interface in interfaces}
        self.exports.ips = tuple(self._broadcasts)
        self._said_failures.clear()

    def pause(self, paused: bool) -> None:
        self.exports.paused = paused
        self._plan_wake()

    def forget(self) -> None:
        """All that was heard."""
        self._heard.clear()
        self.imports.clear()

    def stop(self) -> None:
        """Take back what stands on this node, and close."""
        self._stopped = True
        if self._wake is not None:
            self._wake.cancel()
        self.exports.stop()
        self._flush()
        self._own.close()
        if self._shared is not None:
            self._loop.remove_reader(self._shared)
            self._shared.close()
            self._shared = None

    # --- what happens ---

    def _on_event(self, event: Event) -> None:
        if not self._stopped:
            self.exports.changed(event, self._loop.time())
            self._plan_wake()  # not at once: the LAN is told first, and several changes in one go

    def _read(self, end: socket.socket) -> None:
        now = self._loop.time()
        for _ in range(READ_AT_ONCE):
            try:
                data, (ip, port) = end.recvfrom(READ_BYTES)
            except BlockingIOError:
                break
            except OSError as error:  # an answer that could not be delivered, reported to the socket by some systems
                self._failed(error)
                break
            if port != self._own_port or ip not in self._own_ips:
                self._receive(data, ip, now)
        self._plan_wake()

    def _receive(self, data: bytes, ip: str, now: float) -> None:
        try:
            said = decode(data)
        except Refused as refused:
            self.counters[refused.code] += 1
            return
        address = as_reached(said.address, ip, self._own_ips)
        since = self._heard.note(said.name, address, now)
        self.exports.heard(said.name, address, said.ttl_s, now)
        if not said.by_nwdisco:  # what other nodes tell is known by the LAN, or no business of this one
            self.imports.hear(said, address, since, now)

    def _woken(self) -> None:
        self._wake = None
        now = self._loop.time()
        self.imports.expire(now)
        self.exports.wake(now)
        self._flush()
        self._plan_wake()

    def _plan_wake(self) -> None:
        dues = [due for due in (self.exports.due, self.imports.due) if due is not None]
        if not dues or self._stopped:
            return
        due = min(dues)
        if self._wake is not None:
            if self._wake.when() <= due:
                return
            self._wake.cancel()
        self._wake = self._loop.call_at(due, self._woken)

    # --- sending ---

    def _flush(self) -> None:
        outbox = self.exports.outbox
        while outbox:
            data, ip = outbox.popleft()
            broadcast = self._broadcasts.get(ip)
            if broadcast is None:
                continue
            try:
                self._own.sendto(data, (broadcast, self._port))
            except OSError as error:
                self._failed(error)

    def _failed(self, error: OSError) -> None:
        """Networks come and go: count it, say it once; what was not sent is told again in the next round."""
        self.counters["send_failed"] += 1
        if error.errno is not None and error.errno not in self._said_failures:
            self._said_failures.add(error.errno)
            log(f"NetworkZero could not be told: {error.strerror} (said once; counted as send_failed)")


def _open_shared(port: int) -> socket.socket:
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform != "linux" and hasattr(socket, "SO_REUSEPORT"):  # BSD and macOS share ports by this one
            end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        end.bind(("", port))
    except OSError:
        end.close()
        raise
    return end


def _open_own() -> socket.socket:
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.setblocking(False)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    end.bind(("", 0))
    return end
