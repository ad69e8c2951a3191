"""The source with nothing to set up: a service is a group of names on the local network, its members are the instances.

`nw0.advertise("printer/a1")` is the instance "a1" of the service "printer". A name of fewer or more parts than two is none.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Mapping

from ..discovery import advertise, discover_all, discover_group, unadvertise
from ..errors import AdvertError, NwdiscoError, RegistryKeyError
from ..requests import watch as watch_request
from ..results import Event, Service
from ..watching import Watch
from .instance import HOSTNAME, PORT, InstanceKey, ServiceInstance, check_part, check_properties, is_hostname, is_port
from .registry import Following
from .schema import ID_DIGITS
from .sources import DEFAULT_TTL_S, InstanceEvent, OnEvent, Registration, Roll, Warnings, keeping_address, log, tell

LAN = "lan"
"""The one cluster."""
AGAIN_S = 1.0
"""When no beacon can be had: how long until the next try."""


class LanSource:
    """The local network. Its registrations are adverts of this process; they are gone at once when it ends."""

    default_cluster = LAN

    def __init__(self) -> None:
        self._warnings = Warnings()
        self._lock = threading.Lock()
        self._open: set[_Advertised | _Follower] = set()

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
        with self._lock:
            self._open.add(follower)
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
        with self._lock:
            self._open.add(advertised)
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

    def forget(self, ended: _Advertised | _Follower) -> None:
        with self._lock:
            self._open.discard(ended)

    def close(self) -> None:
        with self._lock:
            ending = list(self._open)
        for one in ending:
            try:
                one.close()
            except NwdiscoError as error:  # the others are ended all the same
                log.warning("what ended could not be taken back, and stands until this program ends: %s", error)


class _Advertised(Registration):
    def __init__(self, source: LanSource, wanted: ServiceInstance, ttl_s: float) -> None:
        self._source = source
        self._ttl_s = ttl_s
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
                raise AdvertError(f"{self._name!r} is not registered any more: register it again")
            checked = check_properties(properties)
            self._picks_host = self._picks_host and not checked.get(HOSTNAME)
            given = keeping_address(checked, self._instance)
            self._instance = self._advertise(ServiceInstance(*self._instance.key, given))

    def unregister(self) -> None:
        with self._lock:
            if not self._ended:
                unadvertise(self._name)
                self._ended = True
        self._source.forget(self)

    close = unregister

    @property
    def _name(self) -> str:
        return f"{self._instance.service}/{self._instance.id}"

    def _advertise(self, wanted: ServiceInstance) -> ServiceInstance:
        """Where the host was picked, each machine is told the address under which it can reach this one."""
        host = "" if self._picks_host else wanted.properties[HOSTNAME]
        port = wanted.properties.get(PORT, "")
        more = {name: value for name, value in wanted.properties.items() if name not in (HOSTNAME, PORT)}
        address = advertise(
            f"{wanted.service}/{wanted.id}",
            f"{host}:{port}" if port else host or None,
            ttl_s=self._ttl_s,
            properties=more,
        )
        host, _, port = address.rpartition(":")
        return ServiceInstance(*wanted.key, more | {HOSTNAME: host, PORT: port})


class _Watch(Watch):
    def ready(self) -> list[Event]:
        """Events that have come and were not given yet: at first, those who are there already."""
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
        there = self._source.read(event.service for event in self._watch.ready())
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


def _key(name: str) -> InstanceKey | None:
    """Of an advert's name; None for one that names no instance."""
    service, _, id = name.partition("/")
    return InstanceKey(LAN, service, id) if service and id and "/" not in id else None


def _check_cluster(cluster: str) -> None:
    if cluster != LAN:
        raise AdvertError(f"the local network is one cluster, {LAN!r}, not {cluster!r}: leave the cluster out")
