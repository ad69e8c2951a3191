"""This machine's IPv4 interfaces, as the LAN link uses them."""

from __future__ import annotations

import socket
from typing import NamedTuple

import netifaces

from ..addresses import interface_of_gateway, pick

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
    numbers = {name: number for number, name in socket.if_nameindex()}
    for name in netifaces.interfaces():
        if name not in numbers or (only and name not in only):
            continue
        for info in netifaces.ifaddresses(name).get(netifaces.AF_INET, ()):
            ip = info.get("addr")
            if ip:
                broadcast = info.get("broadcast")
                if ip.startswith(LOOPBACK):
                    broadcast = "127.255.255.255"
                found.append(Interface(name, numbers[name], ip, broadcast))
    outward = [interface for interface in found if not interface.ip.startswith(LOOPBACK)]
    return (found if only else outward or found)[:MOST]


def own_ip(used: list[Interface]) -> str:
    """The address to give as this machine's."""
    return pick([(interface.name, interface.ip) for interface in used], interface_of_gateway())
