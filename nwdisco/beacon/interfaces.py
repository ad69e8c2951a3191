"""This machine's IPv4 interfaces, as the LAN link uses them."""

from __future__ import annotations

import socket
from typing import NamedTuple

from ..addresses import interface_of_gateway, ipv4_addresses_of, pick

LOOPBACK = "127."
MOST = 16
"""Linux joins at most 20 multicast groups a socket."""


class Interface(NamedTuple):
    name: str
    number: int
    """The system's number: another one after the interface was removed and made again."""
    ip: str
    broadcast: str | None


def interfaces(only: tuple[str, ...] = ()) -> list[Interface]:
    """Those to use: the named ones, else all but loopback; loopback alone when there is no other."""
    found: list[Interface] = []
    for number, name in socket.if_nameindex():  # not netifaces.interfaces(), which loses memory at each call
        if only and name not in only:
            continue
        for info in ipv4_addresses_of(name) or ():
            ip = info.get("addr")
            if ip:
                broadcast = info.get("broadcast")
                if ip.startswith(LOOPBACK):
                    broadcast = "127.255.255.255"
                found.append(Interface(name, number, ip, broadcast))
    outward = [interface for interface in found if not interface.ip.startswith(LOOPBACK)]
    return (found if only else outward or found)[:MOST]


def own_ip(used: list[Interface]) -> str:
    """The address to give as this machine's."""
    return pick([(interface.name, interface.ip) for interface in used], interface_of_gateway())
