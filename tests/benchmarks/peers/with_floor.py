"""The floor: bare blocking sockets, no library. What it measures, no library in Python can be faster than."""

from __future__ import annotations

import os
import socket
import struct
import time

GROUP, PORT = "239.255.77.77", 27077


class Host:
    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("", PORT))
        member = struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton(address))
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        self._lease: socket.socket | None = None

    def advertise(self, name: str) -> None:
        """One multicast datagram; and a child that holds the other end of a connection, as a beacon would."""
        self._socket.sendto(name.encode(), (GROUP, PORT))
        if self._lease is None:
            self._lease, theirs = socket.socketpair()
            if os.fork() == 0:
                self._lease.close()
                theirs.recv(1)
                self._socket.sendto(b"gone", (GROUP, PORT))
                os._exit(0)
            theirs.close()

    def advertise_many(self, names: list[str]) -> None:
        """All in one datagram."""
        self._socket.sendto(" ".join(names).encode(), (GROUP, PORT))

    def find(self, name: str, wait_s: float) -> bool:
        return self._hear(name, wait_s)

    def wait_gone(self, name: str, wait_s: float) -> bool:
        return self._hear("gone", wait_s)

    def wait_all(self, names: list[str], wait_s: float) -> bool:
        return self._hear(names[-1], wait_s)

    def look_up(self, name: str) -> float:
        """Seconds of one round trip on a Unix socket between two processes, the median of many."""
        ours, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            ours.close()
            while data := theirs.recv(100):
                theirs.send(data)
            os._exit(0)
        theirs.close()
        times = []
        for _ in range(1000):
            began = time.perf_counter()
            ours.send(name.encode())
            ours.recv(100)
            times.append(time.perf_counter() - began)
        ours.close()
        os.waitpid(child, 0)
        return sorted(times)[len(times) // 2]

    def _hear(self, word: str, wait_s: float) -> bool:
        self._socket.settimeout(wait_s)
        while word not in self._socket.recv(2000).decode().split():
            pass
        return True
