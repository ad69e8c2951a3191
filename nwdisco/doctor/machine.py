"""This machine as the doctor finds it: its interfaces, which of them a beacon uses, and rules that may drop what arrives."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from ipaddress import ip_interface
from pathlib import Path
from typing import Final

from ..addresses import ipv4_addresses_of
from ..beacon.interfaces import LOOPBACK
from ..beacon.interfaces import interfaces as used_interfaces
from ..core.diagnosis import Interface
from ..settings import Settings

SYSTEM: Final = Path("/sys/class/net")
IFF_UP, IFF_LOOPBACK = 0x1, 0x8
SYSTEM_PATH: Final = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
"""Users who are not root often have no sbin in their PATH."""
RULES_LIMIT_S: Final = 5.0


def interfaces(settings: Settings) -> tuple[Interface, ...]:
    """All of them, those without an address too, but for ports of a bridge or a bond: the bridge stands for them."""
    used = {(one.name, one.ip): one for one in used_interfaces(settings.interfaces)}
    found = []
    for _, name in socket.if_nameindex():
        if (SYSTEM / name / "master").exists():
            continue
        flags = int(_system(name, "flags", "0x1"), 16)
        up = bool(flags & IFF_UP)
        link = up and (_system(name, "carrier", "1") == "1" or (SYSTEM / name / "bridge").exists())
        given = ipv4_addresses_of(name)
        if given is None:  # it vanished since it was listed
            continue
        addresses = [info for info in given if info.get("addr")]
        loopback = bool(flags & IFF_LOOPBACK) or any(info["addr"].startswith(LOOPBACK) for info in addresses)
        for info in addresses or ({"addr": ""},):
            ip = info["addr"]
            mine = used.get((name, ip))
            found.append(
                Interface(
                    name,
                    ip,
                    network=str(ip_interface(f"{ip}/{info['netmask']}").network) if info.get("netmask") else "",
                    broadcast=mine.broadcast if mine else info.get("broadcast"),
                    up=up,
                    link=link,
                    used=mine is not None,
                    loopback=loopback,
                )
            )
    return tuple(found)


def _system(name: str, what: str, unknown: str) -> str:
    """What Linux says of an interface; `unknown` where it says nothing, as for the carrier of one that is switched off."""
    try:
        return (SYSTEM / name / what).read_text().strip()
    except OSError:
        return unknown


def hardware_addresses() -> set[str]:
    """Those of all interfaces, used or not: on one network, each answers for the addresses of the others."""
    return {_system(name, "address", "") for _, name in socket.if_nameindex()}


def firewall() -> tuple[str, ...]:
    """Where this machine's rules drop what arrives, if they may be read: a hint, for rules can be more than is read here."""
    return nft_drops(_output("nft", "list", "ruleset")) + iptables_drops(_output("iptables", "-S", "INPUT"))


def nft_drops(ruleset: str) -> tuple[str, ...]:
    """The chains for what arrives that drop by themselves, out of `nft list ruleset`."""
    found = []
    for table, content in re.findall(r"^table (\w+ \S+) \{\n(.*?)^\}", ruleset, re.MULTILINE | re.DOTALL):
        for chain, rules in re.findall(r"^\tchain (\S+) \{\n(.*?)^\t\}", content, re.MULTILINE | re.DOTALL):
            if re.search(r"\bhook (input|prerouting|ingress)\b", rules) and re.search(r"\b(drop|reject)\b", rules):
                found.append(f"nftables: table {table}, chain {chain}")
    return tuple(found)


def iptables_drops(rules: str) -> tuple[str, ...]:
    """The rules that drop, out of `iptables -S INPUT`."""
    lines = re.findall(r"^-P INPUT DROP$|^-A INPUT .*-j (?:DROP|REJECT)\b.*$", rules, re.MULTILINE)
    return tuple(f"iptables: {line}" for line in lines)


def _output(*command: str) -> str:
    """What a tool says; nothing where it is not there, or may not be used."""
    tool = shutil.which(command[0], path=SYSTEM_PATH)
    if tool is None:
        return ""
    try:
        done = subprocess.run(
            [tool, *command[1:]], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RULES_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
