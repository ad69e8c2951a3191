"""The limits of nwdisco made so small that a short input reaches them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType

from nwdisco import config

SMALL = {
    "MAX_NODES": 3,
    "MAX_CONTACTS": 6,
    "MAX_ADVERTS": 24,
    "MAX_ADVERTS_PER_NODE": 6,
    "MAX_PENDING_CHANGES": 3,
    "MAX_TOMBSTONES": 3,
    "MAX_ADVERTS_PER_PROGRAM": 4,
    "MAX_CONTROL_LINE": 512,
    "MAX_CONTROL_CONNECTIONS": 3,
    "MAX_SHIM_HEADER": 256,
    "MAX_SHIM_MESSAGE": 512,
    "MAX_SHIM_REGISTRATIONS": 5,
    "MAX_SHIM_REMEMBERED": 2000,
    "SHIM_REQUESTS_AT_ONCE": 3,
    "SHIM_SERVICES_AT_ONCE": 2,
    "MAX_NETWORKZERO_IMPORTS": 4,
    "MAX_NETWORKZERO_ADVERTS": 4,
    "MAX_NETWORKZERO_WAITING": 3,
    "NETWORKZERO_TAKEN_PER_S": 5.0,
    "NETWORKZERO_PER_S": 5.0,
}


@contextmanager
def replaced(where: ModuleType, by: Mapping[str, object]) -> Iterator[None]:
    """For a while, other values in a module."""
    before = {name: getattr(where, name) for name in by}
    for name, value in by.items():
        setattr(where, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(where, name, value)


def small() -> AbstractContextManager[None]:
    return replaced(config, SMALL)
