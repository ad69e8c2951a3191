"""Where instances are: what every source of them promises, and what sources share.

lan.py finds them on the local network, registered.py in a registry. All calls may be made from any thread.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, Self, runtime_checkable

from ..errors import NwdiscoError
from .instance import HOSTNAME, PORT, InstanceKey, ServiceInstance
from .registry import Following, Heard

log = logging.getLogger("nwdisco")

DEFAULT_TTL_S = 10.0
"""How long a registration outlives its machine. Shorter: sooner gone, more traffic, and lost by a shorter hiccup."""
MAX_WARNED = 1000
"""Foreign keys and names that are remembered, so that each is warned about once; past it, all are forgotten."""


@dataclass(frozen=True)
class InstanceEvent:
    """What happened to an instance: as it is now; for "left", as it was."""

    kind: Literal["joined", "changed", "left"]
    instance: ServiceInstance


OnEvent = Callable[[InstanceEvent], None]


class Registration(ABC):
    """An instance of this program's, kept alive until it is unregistered, its source is closed or the program ends."""

    @property
    @abstractmethod
    def instance(self) -> ServiceInstance:
        """As it is registered now."""

    @property
    @abstractmethod
    def has_ended(self) -> bool:
        """It was unregistered, or its source was closed."""

    @abstractmethod
    def update(self, properties: Mapping[str, str]) -> None:
        """These properties from now on, in place of those before. Hostname and port stay, unless they are among them."""

    @abstractmethod
    def unregister(self) -> None:
        """It leaves now. Once is enough; again does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unregister()


@runtime_checkable
class Source(Protocol):
    @property
    def default_cluster(self) -> str:
        """The cluster where none is named."""

    def clusters(self) -> list[str]:
        """Clusters that have an instance, sorted."""

    def services(self, cluster: str) -> list[str]:
        """Services that have an instance, sorted."""

    def instances(self, cluster: str, service: str) -> list[ServiceInstance]:
        """Those that are there now, in the order of their ids."""

    def follow(self, cluster: str, service: str, on_event: OnEvent) -> Following:
        """Hear of a service's instances: first, before this returns, a "joined" for each that is there, then every change,
        from one thread at a time. An `on_event` that raises is logged, and called again with the next."""

    def register(
        self,
        cluster: str,
        service: str,
        properties: Mapping[str, str] | None = None,
        *,
        id: str | None = None,
        ttl_s: float = DEFAULT_TTL_S,
    ) -> Registration:
        """Register an instance of this program's, under a new id unless one is given. Where there is a port and no hostname, this
        machine's address is filled in. Whoever registers a cluster, service and id that are there takes them over."""

    def close(self) -> None:
        """End what it keeps running: registrations, and whoever follows."""


def end(one: Registration | Following | Heard[InstanceEvent]) -> None:
    """Of several that end together: one that cannot be taken back is logged, and the others are ended all the same."""
    try:
        if isinstance(one, Registration):
            one.unregister()
        else:
            one.close()
    except NwdiscoError as error:
        log.warning("what ended could not be taken back, and may stand for its time to live: %s", error)


class Keeper:
    """The part of a source that keeps what runs, until it ends by itself or the source is closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: set[Registration | Following] = set()

    def keep(self, one: Registration | Following) -> None:
        with self._lock:
            self._kept.add(one)

    def forget(self, ended: Registration | Following) -> None:
        with self._lock:
            self._kept.discard(ended)

    def close(self) -> None:
        with self._lock:
            ending = list(self._kept)
        for one in ending:
            end(one)


class Roll:
    """Who is there, as told so far: makes events of what is really different."""

    def __init__(self) -> None:
        self._there: dict[InstanceKey, ServiceInstance] = {}

    def now(self, instance: ServiceInstance) -> Iterator[InstanceEvent]:
        """It is there, and so."""
        before = self._there.get(instance.key)
        self._there[instance.key] = instance
        if before is None:
            yield InstanceEvent("joined", instance)
        elif before != instance:
            yield InstanceEvent("changed", instance)

    def gone(self, key: InstanceKey) -> Iterator[InstanceEvent]:
        instance = self._there.pop(key, None)
        if instance is not None:
            yield InstanceEvent("left", instance)

    def all_now(self, instances: Iterable[ServiceInstance]) -> Iterator[InstanceEvent]:
        """These are there, and no others."""
        there = {instance.key: instance for instance in instances}
        for key in [key for key in self._there if key not in there]:
            yield from self.gone(key)
        for instance in there.values():
            yield from self.now(instance)


class Warnings:
    """One line in the log for each thing that cannot be read, however often it is met."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def once(self, what: str, why: object) -> None:
        if what in self._warned:
            return
        if len(self._warned) >= MAX_WARNED:
            self._warned.clear()
        self._warned.add(what)
        log.warning("%r is left out: %s", what, why)


def tell(on_event: OnEvent, events: Iterable[InstanceEvent]) -> None:
    """Call back with each; whoever raises hears of the next all the same."""
    for event in events:
        try:
            on_event(event)
        except Exception:
            log.exception("%s of %s was not taken in", event.kind, event.instance)


def keeping_address(properties: Mapping[str, str], instance: ServiceInstance) -> dict[str, str]:
    """Properties with the hostname and port that an instance has, where they name none."""
    return {name: instance.properties[name] for name in (HOSTNAME, PORT) if name in instance.properties} | dict(
        properties
    )
