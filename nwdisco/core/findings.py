"""What can be wrong with a network, as a table: in plain words what it is, and what to do about it.

docs/doctor.md has the same table, held to this one by tests/test_doctor.py. What is in braces is filled in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple


class Severity(StrEnum):
    """OK is the verdict on a network without findings; a NOTE is worth knowing, and nothing to mend."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


class Kind(NamedTuple):
    severities: tuple[Severity, ...]
    what: str
    todo: str


NOTE, WARNING, ERROR = (Severity.NOTE,), (Severity.WARNING,), (Severity.ERROR,)
ERROR_OR_NOTE = (Severity.ERROR, Severity.NOTE)
"""An error where nothing else can be used."""
LET_IN: Final = (
    "let UDP in from {network}, to all ports, for answers come to a port of the beacon's own:"
    " `ufw allow proto udp from {network}`, or `nft insert rule` with `ip saddr {network} meta l4proto udp accept`"
)

KINDS: Final = {
    "no-network": Kind(
        ERROR, "this machine has no network interface but loopback", "plug in or switch on a network card"
    ),
    "switched-off": Kind(
        ERROR_OR_NOTE, "the interface {interface} is switched off", "switch it on: `ip link set {interface} up`"
    ),
    "no-link": Kind(
        ERROR_OR_NOTE,
        "the interface {interface} has no link: its cable is out, or it has joined no Wi-Fi",
        "plug it in; try another cable, and another port of the switch",
    ),
    "no-address": Kind(
        ERROR_OR_NOTE,
        "the interface {interface} is up and has no IPv4 address",
        "find out why no router (DHCP) gave it one, or give it one by hand: `ip addr add 192.168.1.50/24 brd + dev {interface}`",
    ),
    "no-such-interface": Kind(
        ERROR,
        "NWDISCO_INTERFACES names {interface}, and this machine has {others}",
        "correct the name, or unset NWDISCO_INTERFACES to use all of them",
    ),
    "loopback-only": Kind(
        WARNING,
        "NWDISCO_INTERFACES chooses loopback alone: nothing leaves this machine, and no other machine is found",
        "unset NWDISCO_INTERFACES, if others are to be found",
    ),
    "port-taken": Kind(
        ERROR,
        "UDP port {port} cannot be listened at: {why}",
        "end the program that has it (`ss -ulpn` shows which), or set NWDISCO_PORT to another one, the same on all machines",
    ),
    "beacon-trouble": Kind(
        ERROR,
        "the beacon of this user does not answer as it should: {why}",
        "run `nwdisco stop`; if it runs on, end it, and look into beacon.log beside its socket",
    ),
    "beacon-differs": Kind(
        WARNING,
        "the beacon that runs was started with other settings than those of here: {differences}",
        "set them alike; `nwdisco stop` ends it, and the next program starts one with the settings of its own",
    ),
    "beacon-could-not-send": Kind(
        NOTE,
        "the beacon could not send {count} datagrams since it began",
        "nothing, if the network was out for a while; else see its log",
    ),
    "flood": Kind(
        WARNING,
        "the beacon left {count} datagrams unread in {looked_s:.0f} s: somebody sends more than a beacon reads of one machine",
        "find the machine (`tcpdump -n udp port {port}`) and end the program that floods the network",
    ),
    "cannot-send": Kind(
        ERROR,
        "this machine does not let {way} out of {interface}: {why}",
        "let UDP out, to {port} and from there to all ports: `nft list ruleset` or `iptables -S OUTPUT` shows what forbids it",
    ),
    "inbound-dropped": Kind(
        ERROR,
        "a firewall of this machine drops arriving UDP: what {interface} sends to everyone does not come back{hint}",
        LET_IN,
    ),
    "multicast-dropped-here": Kind(
        WARNING,
        "a firewall of this machine drops arriving multicast: what {interface} sends to {group} does not come back{hint}",
        LET_IN,
    ),
    "broadcast-dropped-here": Kind(
        WARNING,
        "a firewall of this machine drops arriving broadcast: what {interface} sends to everyone comes back by multicast only"
        "{hint}",
        LET_IN,
    ),
    "unicast-dropped-here": Kind(
        ERROR,
        "a firewall of this machine drops arriving unicast: what it sends to its own address {ip} does not come back{hint}",
        LET_IN,
    ),
    "multicast-lost": Kind(
        WARNING,
        "multicast gets lost on the way {directions}: broadcast alone finds what is there",
        "run `nwdisco doctor` there too; without a finding there, look at the switch or access point (IGMP snooping without a"
        " querier, multicast filter)",
    ),
    "broadcast-lost": Kind(
        WARNING,
        "broadcast gets lost on the way to {who}: multicast alone finds what is there",
        "run `nwdisco doctor` there too; without a finding there, look at the switch or access point (broadcast filter), and"
        " whether all have the same netmask",
    ),
    "not-reached": Kind(
        ERROR,
        "{who} is heard, and answers when it is asked alone, but not what is asked of everyone: a firewall there drops"
        " multicast and broadcast, or one of this machine lets in only what was asked of the one who answers{hint}",
        "run `nwdisco doctor` there too; if it finds nothing there, " + LET_IN,
    ),
    "no-answer": Kind(
        ERROR,
        "{who} is heard and never answers: a firewall {where} drops arriving UDP{hint}",
        "run `nwdisco doctor` there too. On the machine with the firewall, " + LET_IN,
    ),
    "other-network": Kind(
        ERROR,
        "{who} is heard and never answers: its address is in no network of this machine ({networks})",
        "give both an address in one network, with the same netmask: see the router's DHCP, or what was given by hand",
    ),
    "alone": Kind(
        NOTE,
        "nobody else was heard in {looked_s:.0f} s: no other beacon runs, or something on the way keeps all of it back",
        "if there is one, run `nwdisco doctor` there too, and compare the network, port {port} and group {group}; an access"
        " point may keep its stations apart (client isolation, guest network)",
    ),
    "other-room": Kind(
        (Severity.WARNING, Severity.NOTE),
        "{who} is in another room than {room}",
        "nothing, if that is meant so; else set NWDISCO_ROOM to the same there and here",
    ),
    "other-secret": Kind(
        WARNING,
        "{who} has another secret, or sends forged datagrams",
        "set NWDISCO_SECRET (or NWDISCO_SECRET_FILE) to the same there and here, if they belong together",
    ),
    "secret-only-there": Kind(
        WARNING,
        "{who} has a secret, and there is none here",
        "set NWDISCO_SECRET (or NWDISCO_SECRET_FILE) here too, if they belong together",
    ),
    "secret-only-here": Kind(
        WARNING,
        "{who} has no secret, and there is one here",
        "set NWDISCO_SECRET (or NWDISCO_SECRET_FILE) there too, if they belong together",
    ),
    "other-version": Kind(
        WARNING, "{who} speaks another version of the protocol", "install the same version of nwdisco there and here"
    ),
    "not-nwdisco": Kind(
        NOTE,
        "{who} sends to UDP port {port} what is not nwdisco's",
        "nothing; if it is much, set NWDISCO_PORT to another port on all machines",
    ),
    "same-address": Kind(
        ERROR,
        "another machine has the address {who} of this one: {owners}",
        "give one of the two another address; for addresses given by hand, take them out of the router's DHCP range",
    ),
    "same-address-elsewhere": Kind(
        WARNING,
        "more than one answers for the address {who}: {owners}; two machines, or one with two cables",
        "two machines: give one of them another address; for addresses given by hand, take them out of the router's DHCP range",
    ),
}


@dataclass(frozen=True)
class Finding:
    code: str
    severity: Severity
    what: str
    todo: str


def verdict(findings: tuple[Finding, ...]) -> Severity:
    """The worst of them."""
    return max((finding.severity for finding in findings), key=list(Severity).index, default=Severity.OK)


def finding(code: str, severity: Severity | None = None, **words: object) -> Finding:
    kind = KINDS[code]
    return Finding(code, severity or kind.severities[0], kind.what.format(**words), kind.todo.format(**words))
