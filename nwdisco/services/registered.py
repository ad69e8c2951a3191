"""The source of instances that are registered in a registry, written by a schema."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress

from ..addressbook import address
from ..errors import RegistryError
from .instance import HOSTNAME, PORT, ServiceInstance, check_properties
from .reading import Changes, Reader
from .registry import Change, Following, Lease, Registry
from .schema import JsonPerInstance, Schema
from .sources import DEFAULT_TTL_S, InstanceEvent, OnEvent, Registration, keeping_address, log, tell


class RegistrySource:
    """Instances in a registry, which stays open when this is closed: it belongs to whoever made it.

    Keys and values that the schema cannot read are left out, with one warning each in the log (logger "nwdisco").
    """

    def __init__(self, registry: Registry, schema: Schema | None = None) -> None:
        self._registry = registry
        self._schema: Schema = JsonPerInstance() if schema is None else schema
        self._reader = Reader(self._schema)
        self._lock = threading.Lock()
        self._open: set[_Registered | _Follower] = set()

    @property
    def default_cluster(self) -> str:
        return self._schema.default_cluster

    def clusters(self) -> list[str]:
        there = self._registry.subtree(self._schema.prefix())
        return sorted({instance.cluster for instance in self._reader.instances(there, warn=False)})

    def services(self, cluster: str) -> list[str]:
        there = self._registry.subtree(self._schema.prefix(cluster))
        return sorted({instance.service for instance in self._reader.instances(there, warn=False)})

    def instances(self, cluster: str, service: str) -> list[ServiceInstance]:
        there = self._registry.subtree(self._schema.prefix(cluster, service))
        return sorted(self._reader.instances(there), key=lambda instance: instance.id)

    def follow(self, cluster: str, service: str, on_event: OnEvent) -> Following:
        prefix = self._schema.prefix(cluster, service)
        follower = _Follower(self, Changes(self._reader), on_event)
        following = self._registry.follow(prefix, follower.take)
        with self._lock:
            self._open.add(follower)
        try:
            follower.start(following)
        except BaseException:
            follower.close()
            raise
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
        given = check_properties({} if properties is None else properties)
        self._schema.prefix(cluster, service)  # raises for those that cannot be, before there is a lease
        if given.get(PORT) and not given.get(HOSTNAME):
            given[HOSTNAME] = address(":" + given[PORT]).partition(":")[0]
        lease = self._registry.lease(ttl_s)
        try:
            id = self._schema.new_id(lease) if id is None else id
            registered = _Registered(self, self._registry, self._schema, lease)
            registered.put(ServiceInstance(cluster, service, id, given))
        except BaseException:
            with suppress(RegistryError):  # it ends by itself; what matters is the first error
                lease.end()
            raise
        with self._lock:
            self._open.add(registered)
        return registered

    def forget(self, ended: _Registered | _Follower) -> None:
        with self._lock:
            self._open.discard(ended)

    def close(self) -> None:
        with self._lock:
            ending = list(self._open)
        for one in ending:
            try:
                one.close()
            except RegistryError as error:  # the others are ended all the same
                log.warning("what ended could not be taken back, and will stand for its time to live: %s", error)


class _Registered(Registration):
    def __init__(self, source: RegistrySource, registry: Registry, schema: Schema, lease: Lease) -> None:
        self._source = source
        self._registry = registry
        self._schema = schema
        self._lease = lease
        self._lock = threading.Lock()
        self._ended = False
        self._instance: ServiceInstance
        self._keys: set[str] = set()
        """All that may be in the registry."""

    @property
    def instance(self) -> ServiceInstance:
        return self._instance

    @property
    def has_ended(self) -> bool:
        return self._ended

    def put(self, instance: ServiceInstance) -> None:
        values = self._schema.write(instance)
        self._registry.put_all(values, lease=self._lease)
        self._instance = instance
        self._keys.update(values)
        for key in sorted(self._keys - values.keys()):
            self._registry.delete(key)
            self._keys.discard(key)

    def update(self, properties: Mapping[str, str]) -> None:
        with self._lock:
            if self._ended:
                raise RegistryError(f"{self._instance.key} is not registered any more: register it again")
            given = keeping_address(check_properties(properties), self._instance)
            self.put(ServiceInstance(*self._instance.key, given))

    def unregister(self) -> None:
        with self._lock:
            if not self._ended:
                self._lease.end()
                self._ended = True
        self._source.forget(self)

    close = unregister


class _Follower(Following):
    """First gathers what is there, so that an instance of several keys is told of once and whole."""

    def __init__(self, source: RegistrySource, changes: Changes, on_event: OnEvent) -> None:
        self._source = source
        self._changes = changes
        self._on_event = on_event
        self._following: Following | None = None
        self._lock = threading.RLock()

    def start(self, following: Following) -> None:
        """Tell what was gathered, and from now on every change at once."""
        with self._lock:
            self._following = following
            following.on_closed = self.close
            tell(self._hear, self._changes.all_events())
        if self.is_closed or following.is_closed:  # meanwhile
            self.close()

    def take(self, change: Change) -> None:
        with self._lock:
            if self._following is None:
                self._changes.gather(change)
            else:
                tell(self._hear, self._changes.events(change))

    def close(self) -> None:
        self.is_closed = True
        if self._following is not None:
            self._following.on_closed = None  # which brought us here, perhaps
            self._following.close()
        self._source.forget(self)
        if self.on_closed is not None:
            self.on_closed()

    def _hear(self, event: InstanceEvent) -> None:
        if not self.is_closed:
            self._on_event(event)
