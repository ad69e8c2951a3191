"""Services in layers, each usable alone: a registry, schemas over it, discovery, an HTTP client.

    from nwdisco.services import Discovery

    with Discovery() as discovery:
        print(discovery.locate("printer", wait_s=5).url)

Each layer is a module or two, with the same name as here in docs/: registry.md, schema.md, discovery.md, http.md. What a layer
needs comes with its first use: the HTTP client takes httpx, the others nothing more than nwdisco does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .discovery import Discovery, InstanceWatch
    from .etcd import EtcdRegistry
    from .http import ServiceClient
    from .http_async import AsyncServiceClient
    from .instance import InstanceKey, ServiceInstance
    from .lan import LanSource
    from .memory import MemoryRegistry
    from .pool import Pool
    from .registered import RegistrySource
    from .registry import Change, Following, Lease, Registry, Watch
    from .schema import Clusters, HostPort, JsonPerInstance, PropertyPerKey, Schema
    from .sources import InstanceEvent, Registration, Source
    from .strategies import Chosen, Healthy, Random, RoundRobin, Strategy, strategy_named
    from .strategies_ranked import LeastUsed, Weighted

__all__ = [
    "AsyncServiceClient",
    "Change",
    "Chosen",
    "Clusters",
    "Discovery",
    "EtcdRegistry",
    "Following",
    "Healthy",
    "HostPort",
    "InstanceEvent",
    "InstanceKey",
    "InstanceWatch",
    "JsonPerInstance",
    "LanSource",
    "Lease",
    "LeastUsed",
    "MemoryRegistry",
    "Pool",
    "PropertyPerKey",
    "Random",
    "Registration",
    "Registry",
    "RegistrySource",
    "RoundRobin",
    "Schema",
    "ServiceClient",
    "ServiceInstance",
    "Source",
    "Strategy",
    "Watch",
    "Weighted",
    "strategy_named",
]

_HOMES = {
    "AsyncServiceClient": "http_async",
    "Change": "registry",
    "Chosen": "strategies",
    "Clusters": "schema",
    "Discovery": "discovery",
    "EtcdRegistry": "etcd",
    "Following": "registry",
    "Healthy": "strategies",
    "HostPort": "schema",
    "InstanceEvent": "sources",
    "InstanceKey": "instance",
    "InstanceWatch": "discovery",
    "JsonPerInstance": "schema",
    "LanSource": "lan",
    "Lease": "registry",
    "LeastUsed": "strategies_ranked",
    "MemoryRegistry": "memory",
    "Pool": "pool",
    "PropertyPerKey": "schema",
    "Random": "strategies",
    "Registration": "sources",
    "Registry": "registry",
    "RegistrySource": "registered",
    "RoundRobin": "strategies",
    "Schema": "schema",
    "ServiceClient": "http",
    "ServiceInstance": "instance",
    "Source": "sources",
    "Strategy": "strategies",
    "Watch": "registry",
    "Weighted": "strategies_ranked",
    "strategy_named": "strategies",
}


def __getattr__(name: str) -> object:
    """Take in a name's module when the name is first used (PEP 562)."""
    if name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
