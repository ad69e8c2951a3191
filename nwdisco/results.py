"""What the verbs give: pairs of name and address that carry more, and the events of a watch."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class Service(tuple[str, str]):
    """A pair (name, address), fit for dict(), set() and unpacking, that also knows where it comes from.

    Two are equal when name and address are; `properties` is text to text, `node` the id of the beacon that it comes from,
    `age_s` the seconds since it was advertised (at the time of the call).
    """

    properties: dict[str, str]
    node: str
    age_s: float

    @classmethod
    def of(cls, described: list[Any]) -> Service:
        """From the control protocol's description of an advert."""
        name, address, properties, node, age_s, *_ = described  # a later beacon may say more
        service = cls((name, address))
        service.properties, service.node, service.age_s = properties, node, age_s
        return service

    @property
    def name(self) -> str:
        return self[0]

    @property
    def address(self) -> str:
        return self[1]


class Event:
    """A change that a watch saw: `kind` is "joined", "changed" (another address or other properties) or "left"."""

    __slots__ = ("kind", "service")

    def __init__(self, kind: str, service: Service) -> None:
        self.kind = kind
        self.service = service
        """As it is now; for "left", as it was."""

    @property
    def name(self) -> str:
        return self.service.name

    @property
    def address(self) -> str:
        return self.service.address

    @property
    def properties(self) -> dict[str, str]:
        return self.service.properties

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name} at {self.address}>"


class Seen:
    """What a watch has told of so far. When the beacon changes under it, only what is really different is told."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}

    def events(self, message: dict[str, Any]) -> Iterable[Event]:
        """The events in one message of the control protocol's watch."""
        if "there" in message:
            there = {service.name: service for service in map(Service.of, message["there"])}
            for name in [name for name in self._services if name not in there]:
                yield Event("left", self._services.pop(name))
            for service in there.values():
                yield from self._now(service)
        else:
            service = Service.of(message["advert"])
            if message["event"] == "left":
                if self._services.pop(service.name, None) is not None:
                    yield Event("left", service)
            else:
                yield from self._now(service)

    def _now(self, service: Service) -> Iterable[Event]:
        before = self._services.get(service.name)
        self._services[service.name] = service
        if before is None:
            yield Event("joined", service)
        elif before != service or before.properties != service.properties:
            yield Event("changed", service)
