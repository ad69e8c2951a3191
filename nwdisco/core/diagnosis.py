"""The diagnosis of a network: facts in, findings out. Nothing here looks at anything: nwdisco/doctor gathers the facts.

A finding is a row of the table in findings.py with the names and addresses filled in: what is wrong in plain
words, and what to do about it. A network that is well has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final

from .findings import Finding, Severity, finding
from .lan import BIG_ROOM_NODES
from .wire import HAS_NO_SECRET, HAS_SECRET, NOT_NWDISCO, OTHER_ROOM, OTHER_SECRET, OTHER_VERSION

MULTICAST, BROADCAST, UNICAST = "multicast", "broadcast", "unicast"


# --- facts ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interface:
    """One interface of this machine, or one of its addresses where it has several."""

    name: str
    ip: str = ""
    """Empty: it has no IPv4 address."""
    network: str = ""
    """Such as 10.77.0.0/24."""
    broadcast: str | None = None
    up: bool = True
    link: bool = True
    """Whether there is something at the other end of the cable."""
    used: bool = False
    loopback: bool = False
    came_back: tuple[str, ...] = ()
    """The ways by which what was sent from here was heard here."""
    refused: tuple[tuple[str, str], ...] = ()
    """The ways by which the system sent nothing from here, each with the reason."""


@dataclass(frozen=True)
class Neighbour:
    """Another machine of our room and secret."""

    ips: tuple[str, ...]
    """Several where one beacon was heard from each of them."""
    heard: tuple[str, ...] = ()
    """The ways by which its beats arrived."""
    answered: tuple[str, ...] = ()
    """The ways by which it was asked and answered; answers come by unicast."""


@dataclass(frozen=True)
class Outsider:
    """Somebody whose datagrams are not for us: `reason` is one of wire.py's."""

    reason: str
    ip: str


@dataclass(frozen=True)
class Double:
    """An address that more than one machine has: `owners` are hardware addresses, or what else tells them apart."""

    ip: str
    owners: tuple[str, ...]
    is_ours: bool


@dataclass(frozen=True)
class BeaconState:
    """The beacon of this user, as its status says."""

    pid: int
    version: str
    differs: tuple[tuple[str, str, str], ...] = ()
    """Settings that it was started with, and not those of here: which, there, here."""
    send_failed: int = 0
    """Datagrams that it could not send since it began."""
    over_rate: int = 0
    """Datagrams that it left unread since it began, because one machine sent too many ..."""
    unread: int = 0
    """... and those of them that came while the doctor looked."""


@dataclass(frozen=True)
class Facts:
    port: int
    group: str
    room: str = ""
    has_secret: bool = False
    named: tuple[str, ...] = ()
    """NWDISCO_INTERFACES."""
    interfaces: tuple[Interface, ...] = ()
    port_refused: str = ""
    """Why the port could not be listened at."""
    beacon: BeaconState | None = None
    beacon_trouble: str = ""
    neighbours: tuple[Neighbour, ...] = ()
    outsiders: tuple[Outsider, ...] = ()
    doubles: tuple[Double, ...] = ()
    doubles_not_looked: str = ""
    """Why nobody asked by ARP whether two machines have one address."""
    firewall: tuple[str, ...] = ()
    """Rules of this machine that drop what arrives, as far as they may be read."""
    tells_ways: bool = True
    """Whether this system says by which way a datagram arrived."""
    looked_s: float = 0.0


# --- findings ---------------------------------------------------------------------------------------------


STRANGE: Final = {
    OTHER_ROOM: "other-room",
    OTHER_SECRET: "other-secret",
    HAS_SECRET: "secret-only-there",
    HAS_NO_SECRET: "secret-only-here",
    OTHER_VERSION: "other-version",
    NOT_NWDISCO: "not-nwdisco",
}


HARMLESS: Final = {"not-nwdisco", "no-link", "no-address", "switched-off", "beacon-differs", "beacon-could-not-send"}
"""Findings that do not explain why nobody was heard (as notes; as errors there is nothing to be reached by)."""


def diagnose(facts: Facts) -> tuple[Finding, ...]:
    """All that is wrong, the worst first."""
    found = [*_interfaces(facts), *_beacon(facts), *_own_firewall(facts), *_neighbours(facts), *_doubles(facts)]
    found += _outsiders(facts)
    reachable = any(one.used and one.up and one.link and not one.loopback for one in facts.interfaces)
    if reachable and not facts.neighbours and all(one.code in HARMLESS for one in found):
        found.append(finding("alone", looked_s=facts.looked_s, port=facts.port, group=facts.group))
    return tuple(sorted(found, key=lambda one: -list(Severity).index(one.severity)))


# --- this machine -----------------------------------------------------------------------------------------


def _interfaces(facts: Facts) -> Iterator[Finding]:
    there = sorted({interface.name for interface in facts.interfaces})
    for name in facts.named:
        if name not in there:
            yield finding("no-such-interface", interface=name, others=_listed(there))
    eligible = [one for one in facts.interfaces if not facts.named or one.name in facts.named]
    outward = [one for one in eligible if not one.loopback]
    if facts.named and eligible and not outward:
        yield finding("loopback-only")
    if not facts.named and not outward:
        yield finding("no-network")
    usable = any(one.up and one.link and one.ip for one in outward)
    for name in dict.fromkeys(one.name for one in outward):
        one = next(each for each in outward if each.name == name)
        severity = Severity.NOTE if usable else Severity.ERROR
        if not one.up:
            if one.ip or facts.named or not usable:  # most machines have some that are off and meant to be
                yield finding("switched-off", severity, interface=name)
        elif not one.link:
            yield finding("no-link", severity, interface=name)
        elif not one.ip:
            yield finding("no-address", severity, interface=name)


def _beacon(facts: Facts) -> Iterator[Finding]:
    if facts.port_refused:
        yield finding("port-taken", port=facts.port, why=facts.port_refused)
    if facts.beacon_trouble:
        yield finding("beacon-trouble", why=facts.beacon_trouble)
    beacon = facts.beacon
    if beacon is None:
        return
    if beacon.differs:
        differences = "; ".join(f"{what} is {there} there, {here} here" for what, there, here in beacon.differs)
        yield finding("beacon-differs", differences=differences)
    if beacon.send_failed:
        yield finding("beacon-could-not-send", count=beacon.send_failed)
    if beacon.unread:
        yield finding("flood", count=beacon.unread, looked_s=facts.looked_s, port=facts.port)


def _own_firewall(facts: Facts) -> Iterator[Finding]:
    """What was sent to everyone must come back, as to every other beacon of this machine."""
    back = {one.broadcast for one in facts.interfaces if BROADCAST in one.came_back}
    """Two interfaces on one network: the system sends its broadcasts out of one of them."""
    for one in facts.interfaces:
        if not (one.used and one.up and one.link):
            continue
        refused = dict(one.refused)
        for way, why in one.refused:
            yield finding("cannot-send", way=way, interface=one.name, why=why, port=facts.port)
        if facts.port_refused:
            continue
        sent = {MULTICAST, BROADCAST} if one.broadcast else {MULTICAST}
        lost = {way for way in sent - refused.keys() if way not in one.came_back}
        if one.broadcast in back:
            lost.discard(BROADCAST)
        if lost == sent:
            code = "inbound-dropped"
        elif lost:
            code = f"{lost.pop()}-dropped-here"
        elif UNICAST not in one.came_back and UNICAST not in refused:
            code = "unicast-dropped-here"
        else:
            continue
        hint = _hint(facts)
        yield finding(code, interface=one.name, ip=one.ip, network=one.network, group=facts.group, hint=hint)


def _hint(facts: Facts) -> str:
    return f" (a rule that may be it: {_listed(facts.firewall)})" if facts.firewall else ""


# --- others -----------------------------------------------------------------------------------------------


def _neighbours(facts: Facts) -> Iterator[Finding]:
    there = [one for one in facts.neighbours if one.answered or one.heard]
    """Who is known to the beacon, and silent, may have gone this moment."""
    known_networks = [one.network for one in facts.interfaces if one.network]
    lost = [one for one in there if not one.answered and not _is_in(one, known_networks)]
    if lost:
        yield finding("other-network", who=_who(lost), networks=_listed(known_networks))
    everyone = {MULTICAST, BROADCAST}
    there = [one for one in there if any(_on_the_way_to(facts, one))]
    reached = [one for one in there if everyone & set(one.answered)]
    dropped = {one.name for one in facts.interfaces if one.used and not everyone & set(one.came_back)}
    """Where a firewall here has been found already, which explains the rest."""
    apart = [one for one in there if one not in reached and dropped.isdisjoint(_names(_on_the_way_to(facts, one)))]
    if len(there) >= BIG_ROOM_NODES:  # who has no adverts there does not answer what everyone is asked
        apart = []
    asked_alone = [one for one in apart if one.answered]
    silent = [one for one in apart if not one.answered]
    if asked_alone:
        network = _network(facts, asked_alone[0])
        yield finding("not-reached", who=_who(asked_alone), network=network, hint=_hint(facts))
    if silent:
        where = "there" if reached else ("of this machine, most likely," if facts.firewall else "there or here")
        hint = "" if reached else _hint(facts)
        yield finding("no-answer", who=_who(silent), where=where, hint=hint, network=_network(facts, silent[0]))
    multicast_comes_in = any(MULTICAST in one.came_back for one in facts.interfaces if not one.loopback)
    out = [one for one in reached if MULTICAST not in one.answered and _sends(facts, MULTICAST, one)]
    into = [one for one in reached if MULTICAST not in one.heard] if facts.tells_ways and multicast_comes_in else []
    if out or into:
        ways = [f"from here to {_who(out)}"] * bool(out) + [f"to here from {_who(into)}"] * bool(into)
        yield finding("multicast-lost", directions=" and ".join(ways))
    unheard = [one for one in reached if BROADCAST not in one.answered and _sends(facts, BROADCAST, one)]
    if unheard:
        yield finding("broadcast-lost", who=_who(unheard))


def _outsiders(facts: Facts) -> Iterator[Finding]:
    own = {one.ip for one in facts.interfaces}
    for reason, code in STRANGE.items():
        ips = dict.fromkeys(one.ip for one in facts.outsiders if one.reason == reason)
        if ips:
            severity = Severity.NOTE if code == "other-room" and facts.neighbours else None
            who = _listed([f"{ip} (this machine)" if ip in own else ip for ip in ips])
            room = repr(facts.room) if facts.room else "the one without a name"
            yield finding(code, severity, who=who, room=room, port=facts.port)


def _doubles(facts: Facts) -> Iterator[Finding]:
    for double in facts.doubles:
        code = "same-address" if double.is_ours else "same-address-elsewhere"
        yield finding(code, who=double.ip, owners=_listed(double.owners))


def _is_in(neighbour: Neighbour, networks: Iterable[str]) -> bool:
    return any(ip_address(ip) in ip_network(network) for ip in neighbour.ips for network in networks)


def _on_the_way_to(facts: Facts, neighbour: Neighbour) -> Iterator[Interface]:
    return (one for one in facts.interfaces if one.used and one.network and _is_in(neighbour, [one.network]))


def _names(interfaces: Iterable[Interface]) -> Iterator[str]:
    return (one.name for one in interfaces)


def _sends(facts: Facts, way: str, neighbour: Neighbour) -> bool:
    """Whether something left this machine in a neighbour's direction."""
    on_the_way = _on_the_way_to(facts, neighbour)
    return any(way not in dict(one.refused) and (way == MULTICAST or one.broadcast) for one in on_the_way)


def _network(facts: Facts, neighbour: Neighbour) -> str:
    """The network that this neighbour is in."""
    return next(_on_the_way_to(facts, neighbour)).network


MOST_LISTED: Final = 8


def _who(neighbours: list[Neighbour]) -> str:
    return _listed(["/".join(neighbour.ips) for neighbour in neighbours])


def _listed(names: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(names[:MOST_LISTED])
    return shown + f" and {len(names) - MOST_LISTED} more" * (len(names) > MOST_LISTED) or "none"
