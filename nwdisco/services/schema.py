"""Schemas: how the instances of services are written as keys and values of a registry, and read back.

Three are here: PropertyPerKey, JsonPerInstance and HostPort. One's own is a class with the methods of Schema; whoever keeps
the keys of Clusters writes two of them, `write` and `read`. A schema does no I/O and holds no state.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from ..errors import RegistryKeyError
from .instance import HOSTNAME, PORT, InstanceKey, ServiceInstance, check_part, is_hostname, is_port
from .registry import Lease

ID_DIGITS = 12
"""Of an id that is made up, hexadecimal: 48 bits, by which two of 10,000 instances are the same once in 5 million times."""


@runtime_checkable
class Schema(Protocol):
    @property
    def default_cluster(self) -> str:
        """The cluster where none is named."""

    def prefix(self, cluster: str | None = None, service: str | None = None) -> str:
        """The key beneath which the instances of a service are, all of a cluster without a service, of everything ("" perhaps)
        without either. Raises RegistryKeyError for a cluster or service that cannot be."""

    def new_id(self, lease: Lease) -> str:
        """The id of an instance that is registered without one, under a lease."""

    def write(self, instance: ServiceInstance) -> dict[str, str]:
        """An instance's keys and values, in the order in which they are put. RegistryKeyError for one that does not fit."""

    def owner(self, key: str) -> InstanceKey | None:
        """Whose key it is; None for one that has nothing to do with this schema.
        Raises RegistryKeyError for one that stands where instances do and fits none."""

    def read(self, key: InstanceKey, entries: Mapping[str, str]) -> ServiceInstance | None:
        """An instance from all its keys and values, one at least. None when more of them must come, for changes come key by key.
        Raises RegistryKeyError (or whatever else) for values that nobody can read."""


class Clusters:
    """The keys that begin `<cluster>/services/<service>/<id>`: a schema but for `write` and `read`.

    `depth` is how many more parts a key may have.
    """

    default_cluster = "default"
    depth = 0

    def prefix(self, cluster: str | None = None, service: str | None = None) -> str:
        if cluster is None:
            return ""
        top = f"{check_part(cluster, 'cluster')}/services"
        return top if service is None else f"{top}/{check_part(service, 'service')}"

    def new_id(self, lease: Lease) -> str:
        return uuid.uuid4().hex[:ID_DIGITS]

    def owner(self, key: str) -> InstanceKey | None:
        parts = key.split("/")
        if len(parts) < 2 or parts[1] != "services":
            return None
        if not 4 <= len(parts) <= 4 + self.depth:
            raise RegistryKeyError(f"it has {len(parts)} parts")
        return InstanceKey(parts[0], parts[2], parts[3])

    def place(self, key: InstanceKey) -> str:
        """An instance's own key."""
        return f"{key.cluster}/services/{key.service}/{key.id}"


class JsonPerInstance(Clusters):
    """`<cluster>/services/<service>/<id>` = one JSON object of the properties: one key an instance, always changed as a whole.

    Numbers, true and false in somebody else's object are read as the text that JSON writes for them.
    """

    def write(self, instance: ServiceInstance) -> dict[str, str]:
        value = json.dumps(dict(instance.properties), ensure_ascii=False, sort_keys=True)
        return {self.place(instance.key): value}

    def read(self, key: InstanceKey, entries: Mapping[str, str]) -> ServiceInstance | None:
        properties = json.loads(entries[self.place(key)])
        if not isinstance(properties, dict):
            raise RegistryKeyError("it is no JSON object")
        return ServiceInstance(*key, {name: _text(value) for name, value in properties.items()})


class PropertyPerKey(Clusters):
    """`<cluster>/services/<service>/<id>/<property>` = its value: whoever has a key can read or change one property.

    The instance's own key holds the names of its properties as a JSON list. So it exists without any; and where changes come
    key by key, it is there when the last of these has come, not before. Somebody else's instance may do without, if it has
    a hostname or a port (another property alone may be what is left of one). Of an update that changes several properties,
    who follows may see one after the other.
    """

    depth = 1

    def write(self, instance: ServiceInstance) -> dict[str, str]:
        place = self.place(instance.key)
        names = json.dumps(sorted(instance.properties), ensure_ascii=False)
        return {place: names} | {f"{place}/{name}": value for name, value in instance.properties.items()}

    def read(self, key: InstanceKey, entries: Mapping[str, str]) -> ServiceInstance | None:
        place = self.place(key)
        properties = {k[len(place) + 1 :]: value for k, value in entries.items() if k != place}
        if place not in entries:
            return ServiceInstance(*key, properties) if HOSTNAME in properties or PORT in properties else None
        names = json.loads(entries[place])
        if not isinstance(names, list):
            raise RegistryKeyError("it is no JSON list of the names of properties")
        return ServiceInstance(*key, properties) if all(name in properties for name in names) else None


class HostPort:
    """`<service>/<id>` = "host:port", as programs that use etcd bare write it. An id that is made up is the lease's.

    There is one cluster, which has no place in the keys; only hostname and port travel, and any other property is refused.
    """

    def __init__(self, cluster: str = "default") -> None:
        self.default_cluster = check_part(cluster, "cluster")

    def prefix(self, cluster: str | None = None, service: str | None = None) -> str:
        if cluster is not None and cluster != self.default_cluster:
            raise RegistryKeyError(
                f"HostPort keeps the cluster {self.default_cluster!r} only, not {cluster!r}: name it in HostPort(...)"
            )
        return "" if service is None else check_part(service, "service")

    def new_id(self, lease: Lease) -> str:
        return lease.id

    def write(self, instance: ServiceInstance) -> dict[str, str]:
        more = sorted(set(instance.properties) - {HOSTNAME, PORT})
        if more:
            raise RegistryKeyError(
                f"HostPort holds hostname and port only, not {', '.join(more)}: leave them out, or take JsonPerInstance"
            )
        return {f"{self.prefix(instance.cluster, instance.service)}/{instance.id}": instance.address}

    def owner(self, key: str) -> InstanceKey | None:
        parts = key.split("/")
        if len(parts) != 2:
            raise RegistryKeyError(f"it has {len(parts)} parts")
        return InstanceKey(self.default_cluster, *parts)

    def read(self, key: InstanceKey, entries: Mapping[str, str]) -> ServiceInstance | None:
        (value,) = entries.values()
        hostname, _, port = value.rpartition(":")
        if not is_hostname(hostname) or not is_port(port):
            raise RegistryKeyError("it is no host:port")
        return ServiceInstance(*key, {HOSTNAME: hostname, PORT: port})


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise RegistryKeyError(f"it has a property that is no text, but {type(value).__name__}")
