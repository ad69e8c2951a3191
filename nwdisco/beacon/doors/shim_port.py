"""The shim's TCP port: opened at the beacon's start; its door is built when the first client comes.

Few beacons have such a client, and taking in the door's code costs every first call of a program 5 ms.
"""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ... import config
from ...core.directory import Directory
from ..loop import Loop, StreamProtocol, log

if TYPE_CHECKING:
    import ssl

    from .shim import ShimDoor

BACKLOG = 1024
FOR_ALL = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", None), config.SHIM_KEEPALIVE_S),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", None), 10),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", None), 3),
    (socket.SOL_SOCKET, socket.SO_SNDBUF, config.SHIM_KERNEL_BYTES),
    (socket.SOL_SOCKET, socket.SO_RCVBUF, config.SHIM_KERNEL_BYTES),
)
"""Options of every connection."""


class Listening(socket.socket):
    """Knows where the last one came from that it has taken, which Loop.serve does not tell."""

    from_here = False
    """From this machine, which nobody else can pretend: the kernel drops what comes from outside with such an address."""

    def accept(self) -> tuple[socket.socket, Any]:
        self.from_here = False
        end, peer = super().accept()
        with suppress(OSError):  # it has gone already
            self.from_here = peer[0].startswith("127.") or peer[0] == end.getsockname()[0]
        return end, peer


class ShimPort:
    def __init__(
        self,
        loop: Loop,
        directory: Directory,
        own_ip: Callable[[], str],
        when_settled: Callable[[Callable[[], None]], None],
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`own_ip` completes adverts without one; `when_settled` calls back when the LAN's adverts are known; with a `token`,
        who comes from another machine has to show it; with `tls` (of tls.py), everybody speaks that."""
        self._loop = loop
        self._directory = directory
        self._own_ip = own_ip
        self._when_settled = when_settled
        self._token = token
        self._tls = tls
        self._door: ShimDoor | None = None
        self._listening: Listening | None = None
        self._why_not = "it is switched off"

    def open(self, where: tuple[str, int] | None) -> None:
        """Listen at a host and port; where that cannot be, or nowhere, the beacon does all the rest."""
        if where is None:
            return
        try:
            listening = Listening(fileno=socket.create_server(where, backlog=BACKLOG).detach())
        except (OSError, UnicodeError) as error:
            number = getattr(error, "errno", None) or 0
            why = os.strerror(number) if number > 0 else str(error)
            self._why_not = f"{where[0]}:{where[1]}: {why}"
            log(f"no shim on {self._why_not}. For another place: --shim HOST:PORT or NWDISCO_SHIM")
            return
        for level, option, value in FOR_ALL:  # the connections that it takes inherit them
            if option is not None:  # macOS lacks one
                listening.setsockopt(level, option, value)
        self._listening = listening
        self._loop.serve(listening, self._connection, config.MAX_SHIM_MESSAGE)

    def close(self) -> None:
        if self._listening is not None:
            self._listening.close()
        if self._door is not None:
            self._door.close()

    @property
    def in_use(self) -> bool:
        return self._door is not None and bool(self._door.clients or self._door.shim.registrations)

    def status(self) -> dict[str, object]:
        door = self._door
        return {
            "address": None if self._listening is None else "{}:{}".format(*self._listening.getsockname()),
            "why_not": self._why_not if self._listening is None else None,
            "connections": 0 if door is None else len(door.clients),
            "registrations": 0 if door is None else len(door.shim.registrations),
            "refused": {} if door is None else dict(door.counters),
        }

    def _connection(self) -> StreamProtocol:
        if self._door is None:
            from .shim import ShimDoor

            files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            most = min(
                config.MAX_SHIM_CONNECTIONS, max(1, files // 2 - config.SHIM_WAITING_ROOM)
            )  # half is for programs
            self._door = ShimDoor(self._loop, self._directory, self._own_ip, self._when_settled, most, self._token)
        assert self._listening is not None
        client = self._door.connection(self._listening.from_here)
        if self._tls is None:
            return client
        from .tls import Secured  # with ssl, which few beacons need

        return Secured(self._tls, client, self._door)
