"""Discovery: register, list, watch and locate the instances of services, wherever they are registered.

with Discovery() as discovery:                                  # on the local network
    discovery.register("printer", address=":8080")
    print(discovery.locate("printer").url)
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Self, TypeGuard

from ..addresses import complete, free_port
from ..config import Forever
from ..errors import AddressError, RegistryError
from .checks import check_kind
from .instance import HOSTNAME, PORT, ServiceInstance, check_properties
from .lan import LanSource
from .pool import Pool
from .registry import Heard
from .sources import DEFAULT_TTL_S, InstanceEvent, Registration, Source, end
from .strategies import Function, Strategies, Strategy, strategy_of

ROUND_ROBIN = "round robin"


class InstanceWatch(Heard[InstanceEvent]):
    """Iterate over events, first over a "joined" for each that is there. Ends when it, its discovery or its source is closed."""

    def __init__(self, source: Source, cluster: str, service: str) -> None:
        super().__init__(lambda on_event: source.follow(cluster, service, on_event))


class Discovery:
    """One cluster of a source (None: the local network). Safe with threads.

    `close` ends all that came from it: registrations, watches, pools. A source that was given stays open.
    """

    def __init__(self, source: Source | None = None, *, cluster: str | None = None) -> None:
        self._source: Source = LanSource() if source is None else source
        check_kind(self._source, Source, "give RegistrySource(registry) for a registry, nothing for the local network")
        self._owns_source = source is None
        self.cluster = self._source.default_cluster if cluster is None else cluster
        self._lock = threading.RLock()
        self._closed = False
        self._pools: dict[tuple[str, str | int], Pool] = {}
        """By service and strategy: its name, or the identity of the object or function."""
        self._open: list[Registration | InstanceWatch] = []

    def clusters(self) -> list[str]:
        return self._source.clusters()

    def services(self) -> list[str]:
        """Services that have an instance, sorted."""
        return self._source.services(self.cluster)

    def instances(self, service: str) -> list[ServiceInstance]:
        """Those that are there now, in the order of their ids."""
        return self._source.instances(self.cluster, service)

    def register(
        self,
        service: str,
        *,
        address: str | None = None,
        properties: Mapping[str, str] | None = None,
        id: str | None = None,
        ttl_s: float = DEFAULT_TTL_S,
    ) -> Registration:
        """Register an instance of this program's, until it is unregistered, this is closed, or the program ends.

        `address`: as `nw0.advertise` takes it (":8080", an IP, ip:port, a host name, "192.168.*"). Without it the properties
        `hostname` and `port` are taken as they are; what is missing is picked: a free port, and this machine's IP. `id`: a new
        one where it is left out. `ttl_s`: how long it stays listed when the whole machine falls silent.
        """
        self._check_open()
        given = check_properties({} if properties is None else properties)
        if address is not None:
            if HOSTNAME in given or PORT in given:
                raise AddressError(
                    "hostname or port stand among the properties, and an address was given too: give one"
                )
            host, _, given[PORT] = complete(address).rpartition(":")
            if host:
                given[HOSTNAME] = host
        given.setdefault(PORT, str(free_port()))
        registration = self._source.register(self.cluster, service, given, id=id, ttl_s=ttl_s)
        self._keep(registration)
        return registration

    def watch(self, service: str) -> InstanceWatch:
        """An iterator over what joins, changes and leaves; first comes a "joined" for each that is there."""
        self._check_open()
        watch = InstanceWatch(self._source, self.cluster, service)
        self._keep(watch)
        return watch

    def locate(
        self, service: str, strategy: Strategies = ROUND_ROBIN, wait_s: float | Forever = 0.0
    ) -> ServiceInstance:
        """One instance, by a strategy, waiting `wait_s` for it. Raises NoInstanceError when there is none then.

        The first call begins to follow the service, later ones ask nobody. How long the instance is used is not known: where
        that matters ("least used"), take a `pool`, and say when it is `done`.
        """
        if _is_function(strategy):
            return self.pool(service).choose(strategy, wait_s)
        pool = self.pool(service, strategy)
        instance = pool.pick(wait_s=wait_s)
        pool.done(instance)
        return instance

    def pool(self, service: str, strategy: Strategies = ROUND_ROBIN) -> Pool:
        """The service's live instances; the same pool for the same service and strategy, until it or this is closed."""
        which = strategy if isinstance(strategy, str) else id(strategy)
        pool = self._pools.get((service, which))
        if pool is not None and not pool.is_closed:
            return pool  # without the lock, which is held for as long as a source takes to answer
        with self._lock:
            self._check_open()
            pool = self._pools.get((service, which))
            if pool is None or pool.is_closed:
                pool = Pool(self._source, self.cluster, service, strategy_of(strategy))
                self._pools[service, which] = pool
            return pool

    def close(self) -> None:
        """Every registration, watch and pool of this ends. Again does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            pools, self._pools = list(self._pools.values()), {}
            kept, self._open = self._open, []
        for pool in pools:
            pool.close()
        for one in kept:
            end(one)
        if self._owns_source:
            self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _keep(self, one: Registration | InstanceWatch) -> None:
        with self._lock:
            if not self._closed:
                self._open = [*(other for other in self._open if not other.has_ended), one]
                return
        end(one)  # closed while it was made
        self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise RegistryError("this discovery is closed: make a new one")


def _is_function(strategy: Strategies) -> TypeGuard[Function]:
    return callable(strategy) and not isinstance(strategy, type | Strategy)
