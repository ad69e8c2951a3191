"""The source of instances that are registered in a registry, written by a schema."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress

from ..addressbook import address
from ..errors import RegistryError
from .checks import check_kind
from .instance import HOSTNAME, PORT, ServiceInstance, check_properties
from .reading import Changes, Reader
from .registry import Change, Following, Lease, Registry
from .schema import JsonPerInstance, Schema
from .sources import DEFAULT_TTL_S, InstanceEvent, Keeper, OnEvent, Registration, keeping_address, tell


class RegistrySource(Keeper):
    """Instances in a registry, which stays open when this is closed: it belongs to whoever made it.

    Keys and values that the schema cannot read are left out, with one warning each in the log (logger "nwdisco").
    """

    def __init__(self, registry: Registry, schema: Schema | None = None) -> None:
        super().__init__()
        self._registry = registry
        self._schema: Schema = JsonPerInstance() if schema is None else schema
        check_kind(registry, Registry, "give MemoryRegistry(), EtcdRegistry(address) or one of your own")
        check_kind(self._schema, Schema, "give JsonPerInstance(), PropertyPerKey(), HostPort() or one of your own")
        self._reader = Reader(self._schema)

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
        self.keep(follower)
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
            new_id = self._schema.new_id(lease) if id is None else id
            instance = ServiceInstance(cluster, service, new_id, given)
            former = set() if id is None else self._keys(instance)
            registered = _Registered(self, self._registry, self._schema, lease, former)
            registered.put(instance)
        except BaseException:
            with suppress(RegistryError):  # it ends by itself; what matters is the first error
                lease.end()
            raise
        self.keep(registered)
        return registered

    def _keys(self, instance: ServiceInstance) -> set[str]:
        """Those that stand in the registry now: of a former life, or of whoever is taken over."""
        there = self._registry.subtree(self._schema.prefix(instance.cluster, instance.service))
        return {key for key in there if self._reader.owner(key, warn=False) == instance.key}


class _Registered(Registration):
    def __init__(
        self, source: RegistrySource, registry: Registry, schema: Schema, lease: Lease, former: set[str]
    ) -> None:
        self._source = source
        self._registry = registry
        self._schema = schema
        self._lease = lease
        self._lock = threading.Lock()
        self._ended = False
        self._instance: ServiceInstance
        self._keys = former
        """All that may be in the registry: what was found there, and what was put."""

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
        for key in sorted(self._keys - values.keys()):  # last, or else whoever follows would see it leave
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
