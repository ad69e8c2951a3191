"""The verbs, blocking: advertise and discover services on the local network, one beacon away.

Names, defaults and address forms follow NetworkZero. All may be called from any thread. Errors are in errors.py:
AdvertError and AddressError for what is wrong in a call, BeaconError when the beacon cannot be had.
"""

from __future__ import annotations

from . import config, lease, requests
from .connection import call
from .core.names import check_name, check_wait
from .known import note
from .results import Service
from .watching import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def advertise(
    name: str,
    address: str | int | None = None,
    fail_if_exists: bool = False,
    ttl_s: float = config.TTL_S,
    properties: Mapping[str, str] | None = None,
) -> str:
    """Advertise a service under a name until this program ends or withdraws it; the address, as "ip:port".

    `address`: nothing (a free port is picked), a port (8080, ":8080"), an IP, ip:port, a host name, or an IP with wildcards
    ("192.168.*"). Where no IP is given, every machine is told the one under which it can reach this one.
    `fail_if_exists`: raise NameTakenError when anybody on the network has the name; without it, the last advert wins.
    `ttl_s`: seconds that others keep the advert when this whole machine falls silent (when only the program dies, it is
    gone at once). `properties`: a small dict of text to text, 700 bytes in all.
    """
    return lease.advertise(requests.advertise(name, address, fail_if_exists, ttl_s, properties))


def unadvertise(name: str) -> bool:
    """Withdraw an advert of this program; False when it has none of that name."""
    return lease.unadvertise(check_name(name))


def discover(name: str, wait_for_s: float | config.Forever = 60) -> str | None:
    """The address of a service, waiting until somebody advertises it; None when nobody has after `wait_for_s` seconds."""
    wait_s = check_wait(wait_for_s)
    address: str | None = call(requests.discover(name, wait_s), wait_s)["address"]
    if address is not None:
        note(name, address)
    return address


def discover_all() -> list[Service]:
    """All services that are there now, as (name, address) pairs in the order of their names."""
    return [Service.of(described) for described in call(requests.discover_all())["adverts"]]


def discover_group(group: str, separator: str = "/", exclude: str | Iterable[str] | None = None) -> list[Service]:
    """The services whose names begin with the group and the separator, as (name, address) pairs with their full names.

    `exclude`: a name or several to leave out, one's own, say.
    """
    found = call(requests.discover_group(group, separator, exclude))["adverts"]
    return [Service.of(described) for described in found]


def watch(group: str | None = None, separator: str = "/", wait_for_s: float | config.Forever = config.FOREVER) -> Watch:
    """An iterator over what joins, changes and leaves: in a group, or (None) everywhere.

    First comes a "joined" for each service that is there already. It ends after `wait_for_s` seconds, or when `close` is
    called, from another thread too; it can be used in a `with`.
    """
    return Watch(requests.watch(group, separator), check_wait(wait_for_s))
