"""What the doctor has seen of others by now: a bounded memory, without sockets and clock."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from .. import config
from ..core.contacts import Address
from ..core.diagnosis import BROADCAST, MULTICAST, UNICAST, Neighbour, Outsider
from ..core.sources import MAX_STRANGERS

WAYS: Final = (MULTICAST, BROADCAST, UNICAST)
SIGN_OF_LIFE: Final = re.compile(
    rb'nw1(?:@.{6})?(?:#.{16} [\w-]{8} \d{12} d)?\["(beat|change|bye)","([A-Za-z0-9_-]{8})"', re.DOTALL
)
"""A datagram that a node sends of itself, open or sealed: a seal hides nothing. Questions are not: other doctors ask too."""
MOST_ALONE: Final = 64
"""Nodes that are asked alone at a time. More: a flood of forged beats makes more traffic."""
MOST_AT_ONE_IP: Final = 4
"""Of these; any of them answers for its machine."""


class Machine:
    """Another machine, by all its addresses that one of its nodes was heard from."""

    def __init__(self, ip: str) -> None:
        self.ips = {ip}
        self.nodes: dict[str, Address] = {}
        """The one heard last comes last."""
        self.unspent: Counter[str] = Counter()
        """Of each address: bytes that were heard of it, and not yet spent on questions to it alone."""
        self.heard: set[str] = set()
        self.answered: set[str] = set()

    @property
    def is_there(self) -> bool:
        return bool(self.heard or self.answered)


class Seen:
    def __init__(self) -> None:
        self._machines: dict[str, Machine] = {}
        """By address."""
        self._machine_of: dict[str, Machine] = {}
        """By node."""
        self._outsiders: dict[Outsider, None] = {}

    def outsider(self, reason: str, ip: str) -> None:
        if len(self._outsiders) < MAX_STRANGERS:
            self._outsiders[Outsider(reason, ip)] = None

    def known(self, node: str, address: Address) -> None:
        """The beacon of this machine knows a node there."""
        machine = self._machine(address[0])
        if machine is not None:
            self._put(node, address, machine)

    def heard(self, data: bytes, source: Address, way: str) -> None:
        """A datagram of our room and secret that was sent to everyone."""
        sign = SIGN_OF_LIFE.match(data)
        if sign is None:
            return
        node = sign[2].decode()
        if sign[1] == b"bye":
            self._left(node)
            return
        machine = self._machine(source[0])
        if machine is None:
            return
        elsewhere = self._machine_of.get(node)
        if elsewhere is not None and elsewhere is not machine:
            self._merge(machine, elsewhere)
        self._put(node, source, machine)
        machine.heard.add(way)
        machine.unspent[source[0]] += len(data)

    def answered(self, source: Address, way: str) -> None:
        machine = self._machine(source[0])
        if machine is not None:
            machine.answered.add(way)

    def to_ask(self, question_bytes: int) -> list[Address]:
        """Nodes to ask alone now, by one question each: those whose machines have answered nothing.

        Their addresses may be forged, so none gets more bytes than came from it.
        """
        found: list[Address] = []
        for ip, machine in self._machines.items():
            if not machine.answered:
                here = [address for address in reversed(machine.nodes.values()) if address[0] == ip]
                most = min(MOST_AT_ONE_IP, MOST_ALONE - len(found), machine.unspent[ip] // question_bytes)
                machine.unspent[ip] -= len(here[:most]) * question_bytes
                found += here[:most]
        return found

    def is_puzzling(self, ways: set[str]) -> bool:
        """Whether somebody is there and has not shown himself by each of these ways: to be looked at for longer."""
        there = [one for one in self._each() if one.is_there]
        return any(not ways <= one.answered or (MULTICAST in ways and MULTICAST not in one.heard) for one in there)

    def is_empty(self) -> bool:
        return not any(one.is_there for one in self._machines.values())

    def ips(self) -> list[str]:
        return list(self._machines)

    def neighbours(self) -> tuple[Neighbour, ...]:
        return tuple(
            Neighbour(tuple(sorted(one.ips)), _in_order(one.heard), _in_order(one.answered)) for one in self._each()
        )

    def outsiders(self) -> tuple[Outsider, ...]:
        return tuple(self._outsiders)

    def _each(self) -> list[Machine]:
        """Each machine once, however many addresses it has."""
        return list({id(one): one for one in self._machines.values()}.values())

    def _machine(self, ip: str) -> Machine | None:
        """None: there are too many already."""
        machine = self._machines.get(ip)
        if machine is None and len(self._machines) < config.MAX_NODES:
            machine = self._machines[ip] = Machine(ip)
        return machine

    def _put(self, node: str, address: Address, machine: Machine) -> None:
        if machine.nodes.pop(node, None) is not None or len(machine.nodes) < config.MAX_NODES_PER_MACHINE:
            machine.nodes[node] = address
            self._machine_of[node] = machine

    def _merge(self, machine: Machine, other: Machine) -> None:
        """One node was heard from both: they are one."""
        machine.ips |= other.ips
        machine.nodes |= other.nodes
        machine.unspent += other.unspent
        self._machine_of |= dict.fromkeys(other.nodes, machine)
        machine.heard |= other.heard
        machine.answered |= other.answered
        for ip in other.ips:
            self._machines[ip] = machine

    def _left(self, node: str) -> None:
        machine = self._machine_of.pop(node, None)
        if machine is None:
            return
        del machine.nodes[node]
        if not machine.nodes:
            for ip in machine.ips:
                del self._machines[ip]


def _in_order(ways: set[str]) -> tuple[str, ...]:
    return tuple(way for way in WAYS if way in ways)
