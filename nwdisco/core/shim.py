"""What the shim's requests mean, whichever dialect they come in (lines.py, framed.py): a program with nothing but a TCP
socket registers, heartbeats, queries.

A pure object: requests and the time in, answers out. The driver is beacon/doors/shim.py, the specification docs/shim.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from math import inf, isfinite
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from .. import config
from ..errors import AdvertError
from . import names
from .advert import Advert
from .directory import Directory, Kind
from .ipv4 import is_ipv4
from .refused import Broken, Refused
from .registrations import Registrations

ALL = "all"
"""The key that asks for every service."""
HOST_AND_PORT = re.compile(r"([A-Za-z0-9.-]+):([0-9]{1,5})")
SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?")
ANY_ADDRESS = "0.0.0.0"
"""Given as a service's IP: pick one; each receiver gets the one under which it reaches this machine."""
WITHOUT_TOKEN = 5
"""Requests of a connection that lack the token; with the last of them it ends. More: faster guesses."""


class Wanted(Struct, frozen=True, gc=False):
    """Which services a query or a watch is about: that of a name, those whose names begin with a prefix, or both."""

    name: str | None
    prefix: str | None

    def covers(self, name: str) -> bool:
        return name == self.name or (self.prefix is not None and name.startswith(self.prefix))


EVERYTHING = Wanted(None, "")


def concerning(name: str) -> list[Wanted]:
    """All that may be wanted and covers a name: news of it go to who watches one of these."""
    groups = [Wanted(name[:place], name[: place + 1]) for place, letter in enumerate(name) if letter == "/"]
    return [EVERYTHING, Wanted(name, None), Wanted(name, name + "/"), *groups]


# --- who may ask ------------------------------------------------------------------------------------------


class _Bearer(Struct):
    token: str = ""


_bearer = msgspec.json.Decoder(_Bearer)


class Gate:
    """Before the requests of one connection from another machine, where there is a secret: each needs the token.

    It is looked for before anything else of a request is: who lacks it learns nothing."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._left = WITHOUT_TOKEN

    def check(self, message: bytes) -> None:
        """Of a request as it came. Raises Refused, and Broken at the last that is heard."""
        from hmac import compare_digest  # takes in OpenSSL, which nobody needs who has no secret

        try:
            given = _bearer.decode(message).token.encode()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            given = b""
        if given and compare_digest(given, self._token):
            return
        self._left -= 1
        why = "this token is wrong" if given else "there is no token"
        reason = f"{why}: from another machine each request needs that of this network's secret, in a field 'token'"
        raise Refused("token", reason) if self._left > 0 else Broken("token", f"{reason}; the connection ends")


# --- requests: two vocabularies ---------------------------------------------------------------------------


class _AboutType(Struct):
    type: str

    def wanted(self) -> Wanted:
        """Raises Refused."""
        if not self.type:
            raise Refused("bad_request", "the type is empty: give text, such as 'printer'")
        return Wanted(self.type, self.type + "/")


class _AboutKey(Struct):
    key: str

    def wanted(self) -> Wanted:
        """Raises Refused."""
        if not self.key:
            raise Refused("bad_request", f"the key is empty: give a name, or {ALL!r}")
        return EVERYTHING if self.key == ALL else Wanted(self.key, None)


class Register(Struct, tag_field="action", tag="register"):
    """A service of a type, named by the uuid that it gets (SEEDS 1)."""

    type: str
    ip: str
    port: int
    properties: dict[str, str] = {}


class Heartbeat(Struct, tag_field="action", tag="heartbeat"):
    uuid: str | None = None
    service_uuid: str | None = None


class Query(_AboutType, tag_field="action", tag="query"):
    pass


class Watch(_AboutType, tag_field="action", tag="watch"):
    pass


class RegisterKey(Struct, tag_field="type", tag="register"):
    """A service under a name of its own choice (SEEDS 2)."""

    key: str
    values: str
    timeout: str | int | float | None = None
    properties: dict[str, str] = {}


class HeartbeatKey(Struct, tag_field="type", tag="heartbeat"):
    key: str


class QueryKey(_AboutKey, tag_field="type", tag="query"):
    pass


class WatchKey(_AboutKey, tag_field="type", tag="watch"):
    pass


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


class Found(NamedTuple):
    services: list[Service]
    late: list[str]
    """Names of those that may be there: their lease had run out, and their heartbeat is still waited for."""
    until: float
    """When the first of the services' leases ends, unless it is renewed."""


def describe(advert: Advert) -> Service:
    ip, port = host_and_port(advert.address)
    return Service(advert.name, advert.address, ip, port, advert.properties)


@lru_cache(maxsize=4096)
def host_and_port(address: str) -> tuple[str, int] | tuple[UnsetType, UnsetType]:
    """The two parts of an address; of one that has no such parts, nothing."""
    found = HOST_AND_PORT.fullmatch(address)
    if found is None or not 1 <= int(found[2]) <= 65535:
        return UNSET, UNSET
    return found[1], int(found[2])


class Shim:
    def __init__(self, directory: Directory, own_ip: Callable[[], str], new_uuid: Callable[[], str]) -> None:
        """`own_ip` completes addresses for which none was given."""
        self.registrations = Registrations(directory, f"{directory.node}#shim")
        self._directory = directory
        self._own_ip = own_ip
        self._new_uuid = new_uuid
        # By a table: isinstance is slow on msgspec's classes.
        self._acts: dict[type, Callable[[Any, float], Answer]] = {
            HeartbeatKey: self._heartbeat_key,
            Heartbeat: self._heartbeat,
            RegisterKey: self._register_key,
            Register: self._register,
            Destruction: self._destroy,
        }

    def act(self, request: Request, now: float) -> Answer:
        """Serve what can be answered at once, which is all but queries and watches. Raises Refused."""
        return self._acts[type(request)](request, now)

    def find(self, which: Wanted, at: float, now: float) -> Found:
        """The services that were there `at` that moment and still are."""
        registrations = self.registrations
        services = []
        unsure = []
        until = inf
        for advert in self.there(which):
            if advert.holder == registrations.holder:
                lease_until = registrations.lease_until(advert.name)
                if at >= lease_until:
                    unsure.append(advert.name)
                    continue
                until = min(until, lease_until)
            services.append(describe(advert))
        return Found(services, [name for name in unsure if registrations.is_late(name, at, now)], until)

    def is_much(self, which: Wanted) -> bool:
        """Whether to find it takes so long that others should have their turn before."""
        return which.prefix is not None and self._directory.count(which.prefix) > config.SHIM_SERVICES_AT_ONCE

    def there(self, which: Wanted) -> list[Advert]:
        """What the directory has."""
        one = None if which.name is None else self._directory.get(which.name)
        group = [] if which.prefix is None else self._directory.beginning_with(which.prefix)
        return group if one is None else [one, *group]

    # --- inside ---

    def _register(self, request: Register, now: float) -> Answer:
        _check_name(request.type, "type")
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
        _check_name(name, "name")
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

    def _heartbeat_key(self, request: HeartbeatKey, now: float) -> Answer:
        if self.registrations.renew(request.key, now):
            return DONE
        raise Refused("not_found", f"{request.key[:60]!r} is not registered here (any more): register it again")

    def _heartbeat(self, request: Heartbeat, now: float) -> Answer:
        uuid = request.uuid if request.uuid is not None else request.service_uuid
        if uuid is None:
            raise Refused("bad_request", "a heartbeat without a uuid: give the one that register answered")
        if not self.registrations.renew_by_uuid(uuid, now):
            raise Refused("not_found", f"{uuid[:60]!r} is not registered here (any more): register again")
        return DONE

    def _destroy(self, request: Destruction, now: float) -> Answer:
        if not self.registrations.remove(request.key) and self._directory.get(request.key) is not None:
            raise Refused(
                "not_yours", f"{request.key[:60]!r} was not registered here: only who advertises it can take it back"
            )
        return DONE


def _check_name(name: str, what: str) -> None:
    try:
        names.check_name(name, what)
    except AdvertError as error:
        raise Refused("bad_request", str(error)) from None


def _seconds(timeout: str | int | float | None) -> float:
    """A `timeout` as a time to live, which goes from 1 s to a day."""
    low, high = config.MIN_TTL_S, config.MAX_TTL_S
    if timeout is None:
        return config.SHIM_TIMEOUT_S
    try:
        seconds = -1.0 if isinstance(timeout, str) and not SECONDS.fullmatch(timeout) else float(timeout)
    except OverflowError:
        seconds = -1.0
    if not (isfinite(seconds) and low <= seconds <= high):
        raise Refused("bad_request", f"the timeout is {str(timeout)[:40]!r}: give {low:g} to {high:g} seconds")
    return seconds
