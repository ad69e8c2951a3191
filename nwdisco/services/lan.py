"""The source with nothing to set up: a service is a group of names on the local network, its members are the instances.

`nw0.advertise("printer/a1")` is the instance "a1" of the service "printer". A name of fewer or more parts than two is none.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterable, Mapping

from ..connection import SEE_WHY, TRIES_S
from ..discovery import advertise, discover_all, discover_group, unadvertise
from ..errors import AdvertError, BeaconError, NwdiscoError, RegistryKeyError
from ..requests import watch as watch_request
from ..results import Event, Service
from ..watching import Watch
from .instance import HOSTNAME, PORT, InstanceKey, ServiceInstance, check_part, check_properties, is_hostname, is_port
from .registry import Following
from .schema import ID_DIGITS
from .sources import (
    DEFAULT_TTL_S,
    InstanceEvent,
    Keeper,
    OnEvent,
    Registration,
    Roll,
    Warnings,
    keeping_address,
    log,
    tell,
)

LAN = "lan"
"""The one cluster."""
AGAIN_S = 1.0
"""When no beacon can be had: how long until the next try."""


class LanSource(Keeper):
    """The local network. Its registrations are adverts of this process; they are gone at once when it ends."""

    default_cluster = LAN

    def __init__(self) -> None:
        super().__init__()
        self._warnings = Warnings()

    def clusters(self) -> list[str]:
        return [LAN]

    def services(self, cluster: str) -> list[str]:
        _check_cluster(cluster)
        return sorted({instance.service for instance in self.read(discover_all())})

    def instances(self, cluster: str, service: str) -> list[ServiceInstance]:
        _check_cluster(cluster)
        there = self.read(discover_group(check_part(service, "service")))
        return sorted(there, key=lambda instance: instance.id)

    def follow(self, cluster: str, service: str, on_event: OnEvent) -> Following:
        _check_cluster(cluster)
        follower = _Follower(self, check_part(service, "service"), on_event)
        follower.start()
        self.keep(follower)
        return follower

    def register(
        self,
        cluster: str,
        service: str,
        properties: Mapping[str, str] | None = None,
        *,
        id: str | None = None,
        ttl_s: float = DEFAULT_TTL_S,
    ) -> Registration:
        """As a Source does it; without a port a free one is picked."""
        _check_cluster(cluster)
        id = uuid.uuid4().hex[:ID_DIGITS] if id is None else id
        wanted = ServiceInstance(cluster, service, id, {} if properties is None else properties)
        advertised = _Advertised(self, wanted, ttl_s)
        self.keep(advertised)
        return advertised

    def read(self, services: Iterable[Service]) -> list[ServiceInstance]:
        """Those adverts that are instances."""
        return [instance for service in services if (instance := self.instance(service)) is not None]

    def instance(self, service: Service) -> ServiceInstance | None:
        key = _key(service.name)
        if key is None:
            return None
        host, _, port = service.address.rpartition(":")
        has_place = is_hostname(host) and is_port(port)
        place = {HOSTNAME: host, PORT: port} if has_place else {"address": service.address}
        more = {name: value for name, value in service.properties.items() if name not in (HOSTNAME, PORT)}
        try:
            return ServiceInstance(*key, more | place)
        except RegistryKeyError as error:
            self._warnings.once(service.name, error)
            return None


class _Adverts:
    """Whose each advert is: the registration's that made it last, for within a process a name is advertised once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Held until the beacon has answered, so that nobody comes in between."""
        self._owners: dict[str, _Advertised] = {}

    def make(self, owner: _Advertised, name: str, address: str | None, properties: Mapping[str, str]) -> str:
        with self._lock:
            full = advertise(name, address, ttl_s=owner.ttl_s, properties=properties)
            self._owners[name] = owner
            return full

    def withdraw(self, owner: _Advertised, name: str) -> None:
        """Unless another one has taken it over."""
        with self._lock:
            if self._owners.get(name) is owner:
                unadvertise(name)
                del self._owners[name]


_adverts = _Adverts()
"""This process's, of all sources."""


def _after_fork() -> None:
    """The child has none, and nobody in it holds the lock."""
    global _adverts
    _adverts = _Adverts()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Advertised(Registration):
    def __init__(self, source: LanSource, wanted: ServiceInstance, ttl_s: float) -> None:
        self._source = source
        self.ttl_s = ttl_s
        self._lock = threading.Lock()
        self._ended = False
        self._picks_host = not wanted.properties.get(HOSTNAME)
        self._instance = self._advertise(wanted)

    @property
    def instance(self) -> ServiceInstance:
        return self._instance

    @property
    def has_ended(self) -> bool:
        return self._ended

    def update(self, properties: Mapping[str, str]) -> None:
        with self._lock:
            if self._ended:
                raise AdvertError(f"{_name(self._instance)!r} is not registered any more: register it again")
            checked = check_properties(properties)
            self._picks_host = self._picks_host and not checked.get(HOSTNAME)
            given = keeping_address(checked, self._instance)
            self._instance = self._advertise(ServiceInstance(*self._instance.key, given))

    def unregister(self) -> None:
        with self._lock:
            if not self._ended:
                _adverts.withdraw(self, _name(self._instance))
                self._ended = True
        self._source.forget(self)

    def _advertise(self, wanted: ServiceInstance) -> ServiceInstance:
        """Where the host was picked, each machine is told the address under which it can reach this one."""
        host = "" if self._picks_host else wanted.properties[HOSTNAME]
        port = wanted.properties.get(PORT, "")
        more = {name: value for name, value in wanted.properties.items() if name not in (HOSTNAME, PORT)}
        address = _adverts.make(self, _name(wanted), f"{host}:{port}" if port else host or None, more)
        host, _, port = address.rpartition(":")
        return ServiceInstance(*wanted.key, more | {HOSTNAME: host, PORT: port})


class _Watch(Watch):
    def first(self) -> list[Event]:
        """A "joined" for each that is there already. When the beacon ended before it told of them, the next one is asked.
        Raises BeaconError."""
        deadline = time.monotonic() + TRIES_S
        while self._connection is None and not self._closed:
            if time.monotonic() > deadline:
                raise BeaconError("one beacon after the other ended: " + SEE_WHY)
            self._connect()
        events = list(self._ready)
        self._ready.clear()
        return events


class _Follower(Following):
    """A watch, and a daemon thread that hears it; one that breaks off is replaced, and what was missed is made good."""

    def __init__(self, source: LanSource, service: str, on_event: OnEvent) -> None:
        self._source = source
        self._service = service
        self._on_event = on_event
        self._roll = Roll()
        self._closed = threading.Event()
        self._watch: _Watch

    def start(self) -> None:
        self._begin()
        threading.Thread(target=self._run, name=f"nwdisco: follows {self._service}", daemon=True).start()

    def close(self) -> None:
        self.is_closed = True
        self._closed.set()
        self._watch.close()
        self._source.forget(self)
        if self.on_closed is not None:
            self.on_closed()

    def _begin(self) -> None:
        self._watch = _Watch(watch_request(self._service, "/"), None)
        if self._closed.is_set():  # meanwhile: then nobody has closed this one
            self._watch.close()
        there = self._source.read(event.service for event in self._watch.first())
        tell(self._hear, self._roll.all_now(there))

    def _run(self) -> None:
        trouble = ""
        while not self._closed.is_set():
            try:
                if trouble:
                    self._begin()
                    trouble = ""
                for event in self._watch:
                    self._take(event)
            except NwdiscoError as error:
                if not trouble:
                    log.warning("%s cannot be followed for the moment: %s", self._service, error)
                trouble = str(error)
                self._closed.wait(AGAIN_S)

    def _take(self, event: Event) -> None:
        instance = self._source.instance(event.service)
        if event.kind != "left" and instance is not None:
            tell(self._hear, self._roll.now(instance))
        elif (key := _key(event.name)) is not None:
            tell(self._hear, self._roll.gone(key))

    def _hear(self, event: InstanceEvent) -> None:
        if not self._closed.is_set():
            self._on_event(event)


def _name(instance: ServiceInstance) -> str:
    return f"{instance.service}/{instance.id}"


def _key(name: str) -> InstanceKey | None:
    """Of an advert's name; None for one that names no instance."""
    service, _, id = name.partition("/")
    return InstanceKey(LAN, service, id) if service and id and "/" not in id else None


def _check_cluster(cluster: str) -> None:
    if cluster != LAN:
        raise AdvertError(f"the local network is one cluster, {LAN!r}, not {cluster!r}: leave the cluster out")
