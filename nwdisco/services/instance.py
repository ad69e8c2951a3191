"""An instance of a service: where it is and what it says of itself, as a value.

It checks itself when it is made, so that whatever holds one can trust it: a schema, a strategy, a client.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from ..errors import AddressError, RegistryKeyError

HOSTNAME, PORT = "hostname", "port"
"""The properties that say where an instance is."""
_HOSTNAME = re.compile(r"[^\s/@?#\\]+")
_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")


class InstanceKey(NamedTuple):
    """Which instance it is, whatever its properties."""

    cluster: str
    service: str
    id: str


@dataclass(frozen=True)
class ServiceInstance:
    """One instance of a service. Raises RegistryKeyError for parts and properties that cannot be.

    `properties` are text to text, and any; known ones are `hostname` (IPv6 in brackets), `port`, `protocol` ("http" where it is
    missing), `health` and `weight` (strategies.py). Two instances are equal when all is.
    """

    cluster: str
    service: str
    id: str
    properties: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_part(self.cluster, "cluster")
        check_part(self.service, "service")
        check_part(self.id, "id")
        # a copy that nobody can change: many threads share an instance
        object.__setattr__(self, "properties", MappingProxyType(check_properties(self.properties)))

    @cached_property
    def key(self) -> InstanceKey:
        return InstanceKey(self.cluster, self.service, self.id)

    @property
    def address(self) -> str:
        """Where it is, as "hostname:port". Raises AddressError that says what is missing."""
        missing = " and no ".join(name for name in (HOSTNAME, PORT) if not self.properties.get(name))
        if missing:
            raise AddressError(f"{self._name} has no {missing}: register it with an address")
        hostname, port = self.properties[HOSTNAME], self.properties[PORT]
        if not is_hostname(hostname):
            raise AddressError(f"{self._name} has the hostname {hostname[:60]!r}, which is none: register it anew")
        if not is_port(port):
            raise AddressError(f"{self._name} has the port {port[:20]!r}: give one from 1 to 65535")
        return f"{hostname}:{port}"

    @property
    def url(self) -> str:
        """Its address behind its protocol, "http://hostname:port". Raises AddressError."""
        protocol = self.properties.get("protocol", "http")
        if not _PROTOCOL.fullmatch(protocol):
            raise AddressError(f"{self._name} has the protocol {protocol[:20]!r}: give a word such as 'http'")
        return f"{protocol}://{self.address}"

    @property
    def _name(self) -> str:
        return f"the instance {self.id!r} of {self.service!r}"

    def __repr__(self) -> str:
        return f"ServiceInstance({', '.join(map(repr, self.key))}, {dict(self.properties)!r})"

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[type[ServiceInstance], tuple[str, str, str, dict[str, str]]]:
        return type(self), (*self.key, dict(self.properties))


def is_hostname(text: str) -> bool:
    """Nothing in it that would make a URL lead elsewhere."""
    return _HOSTNAME.fullmatch(text) is not None


def is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535


def check_part(text: object, what: str) -> str:
    """A cluster, a service, an id, the name of a property: a part of a key. Raises RegistryKeyError."""
    if not isinstance(text, str):
        raise RegistryKeyError(f"the {what} is text, not {type(text).__name__}")
    if not text:
        raise RegistryKeyError(f"the {what} is empty: give text, such as 'printer'")
    if "/" in text or not text.isprintable():
        raise RegistryKeyError(f"the {what} {text[:60]!r} has a slash or what cannot be printed: leave it out")
    return text


def check_properties(properties: object) -> dict[str, str]:
    """Text to text, as a dict of one's own. Raises RegistryKeyError."""
    if not isinstance(properties, Mapping):
        raise RegistryKeyError(f"properties are a dict of text to text, not {type(properties).__name__}")
    checked: dict[str, str] = {}
    for name, value in properties.items():
        check_part(name, "property name")
        if not isinstance(value, str):
            raise RegistryKeyError(
                f"the property {name!r} is text, not {type(value).__name__}: write {str(value)[:60]!r}"
            )
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise RegistryKeyError(f"the property {name!r} cannot be written as UTF-8: {error.reason}") from None
        checked[name] = value
    return checked
