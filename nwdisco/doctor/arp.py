"""Two machines with one address: asked by ARP, as RFC 5227 has it. Needs Linux, and the right to raw packets (root)."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from ..core.diagnosis import Interface
from .machine import hardware_addresses

ETHERNET_ARP: Final = 0x0806
REQUEST, REPLY = 1, 2
EVERYONE: Final = b"\xff" * 6
FRAME: Final = struct.Struct("!6s6sHHHBBH6s4s6s4s")
"""Ethernet: to, from, type. ARP: hardware, protocol, their lengths, operation, sender's two addresses, target's two."""
MOST_OWNERS: Final = 8


class Arp:
    """A packet socket for each interface that is used. Who answers for an address that was asked for is remembered."""

    def __init__(self, interfaces: Iterable[Interface]) -> None:
        self.why_not = ""
        """Why it is not looked at."""
        self.owners: dict[str, set[str]] = {}
        """Of each address that was asked for: the hardware addresses that have it, those of this machine left out."""
        self.sockets: list[socket.socket] = []
        self._networks: list[tuple[IPv4Network, socket.socket]] = []
        self._own_macs = hardware_addresses()
        if sys.platform != "linux":
            self.why_not = "only Linux can be asked"
            return
        by_name: dict[str, socket.socket] = {}
        for one in interfaces:
            if not (one.used and one.up and one.network) or one.loopback:
                continue
            if one.name not in by_name:
                end = self._open(one.name)
                if end is None:
                    continue
                by_name[one.name] = end
            self._networks.append((IPv4Network(one.network), by_name[one.name]))
        self.sockets += by_name.values()

    def _open(self, name: str) -> socket.socket | None:
        try:
            end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(ETHERNET_ARP))
        except PermissionError:
            self.why_not = "that needs root"
            return None
        try:
            end.bind((name, ETHERNET_ARP))
            if len(end.getsockname()[4]) == 6:  # else a tunnel: no ARP there
                return end
        except OSError:  # the interface has gone since
            pass
        end.close()
        return None

    def ask(self, ip: str) -> None:
        """Ask everyone in an address's network who has it; as one who has none itself, so that no table learns us.

        Not elsewhere: a machine with a cable to each of two networks answers for both of its addresses in both.
        """
        self.owners.setdefault(ip, set())
        for network, end in self._networks:
            try:
                if IPv4Address(ip) in network:
                    end.send(question(end.getsockname()[4], ip))
            except OSError:  # the interface has gone, or is full: what cannot be asked is not answered
                continue

    def read(self, end: socket.socket) -> None:
        try:
            frame = end.recv(2048)
        except OSError:  # nothing there after all, or the interface has gone
            return
        heard = sender(frame)
        if heard is None:
            return
        mac, ip = heard
        owners = self.owners.get(ip)
        if owners is not None and mac not in self._own_macs and len(owners) < MOST_OWNERS:
            owners.add(mac)

    def close(self) -> None:
        for end in self.sockets:
            end.close()


def question(mac: bytes, ip: str) -> bytes:
    """The frame that asks who has an address: RFC 5227's probe, whose sender's IP is all zero."""
    nobody = bytes(4)
    target = socket.inet_aton(ip)
    return FRAME.pack(EVERYONE, mac, ETHERNET_ARP, 1, 0x0800, 6, 4, REQUEST, mac, nobody, bytes(6), target)


def sender(frame: bytes) -> tuple[str, str] | None:
    """Who says by a frame, question or answer, that it has which address; None when it says nothing of the kind."""
    if len(frame) < FRAME.size:
        return None
    _, _, kind, hardware, protocol, long, short, operation, mac, ip, _, _ = FRAME.unpack_from(frame)
    if (kind, hardware, protocol, long, short) != (ETHERNET_ARP, 1, 0x0800, 6, 4) or operation not in (REQUEST, REPLY):
        return None
    return (mac.hex(":"), socket.inet_ntoa(ip)) if any(ip) else None
