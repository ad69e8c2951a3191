"""Addresses as text, "ip:port", and which address of this machine to give when none was given.

An IP that was picked, not given, is left out of what is handed to the beacon (":8080"): each receiver fills in the one
under which it can reach this machine.
"""

from __future__ import annotations

import socket

from .core.ipv4 import is_ipv4, is_octet
from .core.names import is_clean
from .errors import AddressError, InvalidAddressError, NoAddressFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

VIRTUAL = ("docker", "br-", "veth", "virbr", "vmnet", "vboxnet", "tun", "tap", "wg", "utun", "zt", "tailscale")
"""Interfaces whose names begin so are picked last: other machines seldom reach them."""

_handed_out: set[int] = set()


def complete(address: str | int | None) -> str:
    """What the caller of `advertise` gave, as "ip:port", or ":port" where the IP is to be picked.

    Takes nothing, a port (8080, "8080", ":8080"), an IP, ip:port, a host name, or an IP with wildcards ("192.168.*"),
    each with or without ":port"; a port that is not given is a free one. Raises AddressError for a port that
    is none, InvalidAddressError for an address that is none, NoAddressFoundError for wildcards that nothing fits.
    """
    text = _text(address)
    host, port_text = _split(text)
    port = check_port(port_text, text) if port_text else 0  # before a name is looked up, which may take long
    ip = _ip(host)
    return f"{ip}:{port or free_port()}"


def _text(address: object) -> str:
    if address is None:
        return ""
    if isinstance(address, bool) or not isinstance(address, str | int):
        raise InvalidAddressError(
            f"the address is {address!r}: give text such as '192.168.1.7:8080', ':8080' or a port"
        )
    if isinstance(address, int) and abs(address) > 10**9:  # Python does not even print the largest
        raise AddressError("the port is out of range by far: give one from 1 to 65535")
    return str(address).strip()


def _split(text: str) -> tuple[str, str]:
    """The host and the port, each "" where it is left out."""
    if text.count(":") > 1:
        raise InvalidAddressError(
            f"{text[:60]!r} has more than one colon, like IPv6, which nwdisco does not speak: give an IPv4 address"
        )
    if ":" in text:
        host, _, port = text.partition(":")
        if not port:
            raise AddressError(
                f"{text[:60]!r} has a colon and no port: write the port behind it, or leave out the colon"
            )
        return host, port
    return ("", text) if text.lstrip("-").isdigit() else (text, "")


def check_port(text: str, whole: str) -> int:
    """The port of an address `whole`, as a number. Raises AddressError."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise AddressError(f"the port {text[:20]!r} of {whole[:60]!r} is no number: give one from 1 to 65535")
    port = int(text) if len(text) < 10 else 0
    if not 1 <= port <= 65535:
        raise AddressError(f"the port {text[:20]} of {whole[:60]!r} is out of range: give one from 1 to 65535")
    return port


def _ip(host: str) -> str:
    """An IPv4 address as text, or "" for one to be picked."""
    if not host:
        return ""
    if not is_clean(host):
        raise InvalidAddressError(f"the host name {host[:60]!r} holds a control character: leave it out")
    if "*" in host:
        return _matching(host)
    if host.replace(".", "").isdigit():
        if not is_ipv4(host):
            raise InvalidAddressError(f"{host[:60]!r} is no IPv4 address: it takes four numbers from 0 to 255")
        if host == "0.0.0.0":
            return ""  # "all my addresses": each receiver gets the one that it can reach
        return host
    try:
        ip = socket.gethostbyname(host)
    except (OSError, UnicodeError) as error:
        raise InvalidAddressError(f"the host name {host[:80]!r} does not resolve ({error}): give an address") from error
    if ip.startswith("127.") and host.lower() != "localhost":
        return ""  # this machine's own name, as /etc/hosts often has it: no use to others
    return ip


def _matching(pattern: str) -> str:
    from fnmatch import fnmatchcase

    if not all(part == "*" or is_octet(part) for part in pattern.split(".")):
        raise InvalidAddressError(f"{pattern[:60]!r} is no pattern of an IPv4 address: write it like '192.168.*'")
    found = own_addresses()
    for ip in found:
        if fnmatchcase(ip, pattern):
            return ip
    raise NoAddressFoundError(
        f"this machine has no address like {pattern}: it has {', '.join(found) or 'none'}. Use one of these, or no address"
    )


def own_addresses() -> list[str]:
    """This machine's IPv4 addresses, the most useful to others first; loopback last."""
    import netifaces

    gateway = interface_of_gateway()
    found = [
        (_usefulness(name, info["addr"], name == gateway), info["addr"])
        for name in netifaces.interfaces()
        for info in ipv4_addresses_of(name) or ()
        if "addr" in info
    ]
    return [ip for _, ip in sorted(found)]


def ipv4_addresses_of(interface: str) -> list[dict[str, str]] | None:
    """What the system says of each of them; None when there is no such interface (any more: they come and go)."""
    import netifaces

    try:
        found: list[dict[str, str]] = netifaces.ifaddresses(interface).get(netifaces.AF_INET, [])
    except ValueError:  # the only word that netifaces has for it
        return None
    return found


def interface_of_gateway() -> str | None:
    """The name of the interface towards the rest of the world; None where there is none."""
    import netifaces

    default = netifaces.gateways().get("default")
    gateway = default.get(netifaces.AF_INET) if isinstance(default, dict) else None
    return gateway[1] if gateway else None


def pick(addresses: Iterable[tuple[str, str]], gateway: str | None) -> str:
    """Of (interface, ip) pairs the ip to give as this machine's; 127.0.0.1 when there is none."""
    ranked = sorted((_usefulness(name, ip, name == gateway), ip) for name, ip in addresses)
    return ranked[0][1] if ranked else "127.0.0.1"


def _usefulness(interface: str, ip: str, has_gateway: bool) -> tuple[bool, bool, bool, bool, tuple[int, ...]]:
    """Sorts first what others most likely reach: not loopback, not virtual, towards the gateway, 192.168 (NetworkZero)."""
    octets = tuple(int(part) for part in ip.split("."))
    return (octets[0] == 127, interface.startswith(VIRTUAL), not has_gateway, not ip.startswith("192.168."), octets)


def free_port() -> int:
    """A port that nothing on this machine listens on, for TCP and UDP, and that this process did not hand out before."""
    for _ in range(100):
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("", 0))
                port: int = tcp.getsockname()[1]
                udp.bind(("", port))
            except OSError:
                continue
            if port not in _handed_out:  # looked up while we hold it, so that no other thread gets it meanwhile
                _handed_out.add(port)
                return port
    raise NoAddressFoundError("no free port could be found on this machine: give one yourself, such as ':8080'")
