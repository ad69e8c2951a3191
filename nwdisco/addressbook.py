"""Where to connect and where to listen, for an address that a program was given: its own, another's, or one that it made up."""

from __future__ import annotations

from . import lease
from .addresses import complete, own_addresses
from .connection import call
from .errors import InvalidAddressError
from .known import known
from .requests import discover_all

LOOPBACK = "127.0.0.1"
_places: dict[str, str] = {}
"""Where to connect, for addresses that were looked at before."""
_listening_places: dict[str, str] = {}
_picked: set[str] = set()
"""What `address` has made up an IP for."""
MOST = 10_000


def address(address: str | int | None = None) -> str:
    """An address of this machine as "ip:port": what is left out is picked, as `advertise` does it.

    Takes nothing, a port, an IP, ip:port, a host name, or an IP with wildcards. Raises AddressError and its kinds.
    """
    text = complete(address)
    if not text.startswith(":"):
        return text
    made = (own_addresses() or [LOOPBACK])[0] + text
    _picked.add(made)
    return made


def place_of(address: object) -> str:
    """Where to connect, as "ip:port". Raises InvalidAddressError and other AddressErrors."""
    if not isinstance(address, str):
        raise InvalidAddressError(f"the address is {address!r}: give one, as text: what advertise or discover gave")
    place = _places.get(address)
    if place is None:
        ip, _, port = address.strip().partition(":")
        if not port and not ip.isdigit():
            raise InvalidAddressError(f"{address[:60]!r} has no port: give ip:port, what advertise or discover gave")
        place = complete(address)
        if place.startswith(":"):
            place = LOOPBACK + place
        _remember(_places, address, place)
    return place


def listening_place_of(address: object) -> str:
    """Where to listen, as "ip:port", or "*:port" for all networks of this machine. Raises InvalidAddressError."""
    place = place_of(address)
    found = _listening_places.get(place)
    if found is None:
        found = _where_to_listen(str(address), place)
        _remember(_listening_places, place, found)
    return found


def _where_to_listen(address: str, place: str) -> str:
    ip, _, port = place.partition(":")
    own = lease.addresses()
    if place in own.values():
        return place
    is_here = ip.startswith("127.") or ip in own_addresses()
    if is_here and (f":{port}" in own.values() or place in _picked or not _names_a_host(address)):
        return f"*:{port}"
    others = known(place) or {name for name, at, *_ in call(discover_all())["adverts"] if at == place}
    if not own or not others - set(own):
        return place
    if len(own) > 1:
        raise InvalidAddressError(
            f"{place} is where another program is, {min(others)!r}: wait at one of the addresses that you advertise yourself"
        )
    (mine,) = own.values()
    return "*" + mine if mine.startswith(":") else mine


def _names_a_host(address: str) -> bool:
    """A port alone is one of all networks; who says localhost means that."""
    host = address.strip().partition(":")[0]
    return bool(host) and not host.isdigit()


def _remember(table: dict[str, str], key: str, value: str) -> None:
    if len(table) >= MOST:
        table.clear()
    table[key] = value
