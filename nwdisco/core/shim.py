"""What the shim's requests mean, whichever dialect they come in (lines.py, framed.py): a program with nothing but a TCP
socket registers, heartbeats, queries.

A pure object: requests and the time in, answers out. The driver is beacon/doors/shim.py, the specification docs/shim.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import NamedTuple

from msgspec import UNSET, Struct, UnsetType

from .. import config
from ..address import is_ipv4
from ..errors import AdvertError
from . import names
from .advert import Advert
from .directory import Directory, Kind
from .refused import Refused
from .registrations import Registrations

ALL = "all"
"""The key that asks for every service."""
HOST_AND_PORT = re.compile(r"([A-Za-z0-9.-]+):([0-9]{1,5})")
ANY_ADDRESS = "0.0.0.0"
"""Given as a service's IP: pick one; each receiver gets the one under which it reaches this machine."""


# --- requests: two vocabularies ---------------------------------------------------------------------------


class Register(Struct, tag_field="action", tag="register"):
    """A service of a type, named by the uuid that it gets (SEEDS 1)."""

    type: str
    ip: str
    port: int
    properties: dict[str, str] = {}


class Heartbeat(Struct, tag_field="action", tag="heartbeat"):
    uuid: str | None = None
    service_uuid: str | None = None


class Query(Struct, tag_field="action", tag="query"):
    type: str


class Watch(Struct, tag_field="action", tag="watch"):
    type: str


class RegisterKey(Struct, tag_field="type", tag="register"):
    """A service under a name of its own choice (SEEDS 2)."""

    key: str
    values: str
    timeout: str | int | float | None = None
    properties: dict[str, str] = {}


class HeartbeatKey(Struct, tag_field="type", tag="heartbeat"):
    key: str


class QueryKey(Struct, tag_field="type", tag="query"):
    key: str


class WatchKey(Struct, tag_field="type", tag="watch"):
    key: str


class Destruction(Struct, tag_field="type", tag="destruction"):
    key: str


Request = Register | Heartbeat | Query | Watch | RegisterKey | HeartbeatKey | QueryKey | WatchKey | Destruction


# --- answers ----------------------------------------------------------------------------------------------


class Service(Struct, frozen=True, gc=False):
    """An advert as the shim's clients get it."""

    key: str
    values: str
    ip: str | UnsetType = UNSET
    """Like `port`, only where the address is host:port."""
    port: int | UnsetType = UNSET
    properties: Mapping[str, str] = {}


class Answer(Struct, frozen=True):
    ok: bool = True
    uuid: str | UnsetType = UNSET
    event: Kind | UnsetType = UNSET
    services: list[Service] | UnsetType = UNSET


DONE = Answer()


class Wanted(NamedTuple):
    """Which services a query or a watch is about: that of a name, those whose names begin with a prefix, or both."""

    name: str | None
    prefix: str | None

    def covers(self, name: str) -> bool:
        return name == self.name or (self.prefix is not None and name.startswith(self.prefix))


def wanted(request: Query | Watch | QueryKey | WatchKey) -> Wanted:
    if isinstance(request, (Query, Watch)):
        return Wanted(_checked(request.type, "type"), request.type + "/")
    return Wanted(None, "") if request.key == ALL else Wanted(_checked(request.key, "key"), None)


def describe(advert: Advert) -> Service:
    found = HOST_AND_PORT.fullmatch(advert.address)
    if found is None or int(found[2]) > 65535:
        return Service(advert.name, advert.address, properties=advert.properties)
    return Service(advert.name, advert.address, found[1], int(found[2]), advert.properties)


class Shim:
    def __init__(self, directory: Directory, own_ip: Callable[[], str], new_uuid: Callable[[], str]) -> None:
        """`own_ip` completes addresses for which none was given."""
        self.registrations = Registrations(directory)
        self._directory = directory
        self._own_ip = own_ip
        self._new_uuid = new_uuid

    def act(self, request: Request, now: float) -> Answer:
        """Serve what can be answered at once, which is all but queries and watches. Raises Refused."""
        if isinstance(request, Heartbeat):
            return self._heartbeat(request, now)
        if isinstance(request, HeartbeatKey):
            if self.registrations.renew(request.key, now):
                return DONE
            raise Refused("not_found", f"{request.key!r} is not registered here (any more): register it again")
        if isinstance(request, Register):
            return self._register(request, now)
        if isinstance(request, RegisterKey):
            return self._register_key(request, now)
        assert isinstance(request, Destruction)
        return self._destroy(request)

    def find(self, which: Wanted, at: float, now: float) -> tuple[list[Service], list[str]]:
        """The services that were there `at` that moment and still are, and the names of those that may be:

        their lease had run out by then, their grace goes on, and so their heartbeat may still come.
        """
        found = []
        unsure = []
        for advert in self.there(which):
            if advert.holder != self.registrations.holder or self.registrations.is_fresh(advert.name, at):
                found.append(describe(advert))
            else:
                unsure.append(advert.name)
        return found, self.registrations.late(unsure, at, now)

    def there(self, which: Wanted) -> list[Advert]:
        """What the directory has."""
        one = self._directory.get(which.name) if which.name is not None else None
        group = self._directory.group(which.prefix, "") if which.prefix is not None else []
        return group if one is None else [one, *group]

    # --- inside ---

    def _register(self, request: Register, now: float) -> Answer:
        _checked(request.type, "type")
        if not is_ipv4(request.ip):
            raise Refused(
                "bad_request", f"the ip {request.ip[:60]!r} is no IPv4 address: it takes four numbers from 0 to 255"
            )
        if not 1 <= request.port <= 65535:
            raise Refused("bad_request", f"the port {str(request.port)[:20]} is out of range: give one from 1 to 65535")
        uuid = self._new_uuid()
        picked = request.ip == ANY_ADDRESS
        address = f"{self._own_ip() if picked else request.ip}:{request.port}"
        advert = self._advert(
            f"{request.type}/{uuid}", address, request.properties, config.SHIM_HEARTBEAT_S, now, picked
        )
        self.registrations.put(advert, config.SHIM_GRACE_S, now, uuid)
        return Answer(uuid=uuid)

    def _register_key(self, request: RegisterKey, now: float) -> Answer:
        if request.key == ALL:
            raise Refused(
                "bad_request", f"the key {ALL!r} asks for all keys, so none can be named that: choose another"
            )
        advert = self._advert(request.key, request.values, request.properties, _seconds(request.timeout), now)
        self.registrations.put(advert, 0.0, now)
        return DONE

    def _advert(
        self, name: str, address: str, properties: dict[str, str], ttl_s: float, now: float, picked: bool = False
    ) -> Advert:
        _checked(name, "name")
        try:
            names.check_address_text(address)
            names.check_properties(properties)
        except AdvertError as error:
            raise Refused("bad_request", str(error)) from None
        return Advert(
            name=name,
            address=address,
            properties=properties,
            ttl_s=ttl_s,
            node=self._directory.node,
            holder=self.registrations.holder,
            born=now,
            rank=self._directory.next_rank(name, now),
            picked=picked,
        )

    def _heartbeat(self, request: Heartbeat, now: float) -> Answer:
        uuid = request.uuid if request.uuid is not None else request.service_uuid
        if uuid is None:
            raise Refused("bad_request", "a heartbeat without a uuid: give the one that register answered")
        if not self.registrations.renew_by_uuid(uuid, now):
            raise Refused("not_found", f"{uuid[:60]!r} is not registered here (any more): register again")
        return DONE

    def _destroy(self, request: Destruction) -> Answer:
        if not self.registrations.remove(request.key) and self._directory.get(request.key) is not None:
            raise Refused(
                "not_yours", f"{request.key!r} was not registered here: only who advertises it can take it back"
            )
        return DONE


def _checked(name: str, what: str) -> str:
    try:
        return names.check_name(name, what)
    except AdvertError as error:
        raise Refused("bad_request", str(error)) from None


def _seconds(timeout: str | int | float | None) -> float:
    """A `timeout` as a time to live, which goes from 1 s to a day."""
    low, high = config.MIN_TTL_S, config.MAX_TTL_S
    if timeout is None:
        return config.SHIM_TIMEOUT_S
    try:
        seconds = float(timeout)
    except (ValueError, OverflowError):
        seconds = -1.0
    if not (isfinite(seconds) and low <= seconds <= high):
        raise Refused("bad_request", f"the timeout is {str(timeout)[:40]!r}: give {low:g} to {high:g} seconds")
    return seconds
