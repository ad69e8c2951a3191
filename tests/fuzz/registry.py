"""A registry's keys and values, read as instances of services in each of the schemas: anybody may have written them."""

from __future__ import annotations

from contextlib import suppress

from nwdisco.errors import AddressError
from nwdisco.services.reading import Reader
from nwdisco.services.schema import HostPort, JsonPerInstance, PropertyPerKey, Schema

from .script import steps

BETWEEN = "\0"
"""Between a key and its value."""
SCHEMAS: tuple[Schema, ...] = (JsonPerInstance(), PropertyPerKey(), HostPort())


def instances(data: bytes) -> None:
    """Left out or read; what is read can be written and read again, and has an address or says why not."""
    values = {}
    for step in steps(data):
        key, _, value = step.payload.decode(errors="ignore").partition(BETWEEN)
        values[key] = value
    for schema in SCHEMAS:
        reader = Reader(schema)
        for instance in reader.instances(values, warn=False):
            assert reader.instances(schema.write(instance), warn=False) == [instance]
            with suppress(AddressError):
                assert instance.url.endswith(instance.address)
