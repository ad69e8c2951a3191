"""A shim that speaks TLS: one for many tests, one of a test's own, and what a client needs to trust it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.machines import Machine, wait_until
from tests.shim import loopback_machine
from tests.shim_door import Certificate, SecuredShim, make_certificate


@pytest.fixture(scope="module")
def certificate() -> Iterator[Certificate]:
    with TemporaryDirectory(prefix="nwd-") as place:
        yield make_certificate(Path(place))


@pytest.fixture(scope="module")
def held(certificate: Certificate) -> Iterator[SecuredShim]:
    with loopback_machine() as machine:
        shim = SecuredShim(machine, certificate=certificate)
        yield shim
        shim.end()


@pytest.fixture
def shim(held: SecuredShim) -> Iterator[SecuredShim]:
    """Whatever a test sends: after it the door serves both dialects, and holds no connection."""
    yield held
    held.check_serves()
    wait_until(lambda: held.status()["connections"] == 0, "the end of all connections")


@pytest.fixture
def own_shim(machine: Machine, certificate: Certificate) -> Iterator[SecuredShim]:
    shim = SecuredShim(machine, certificate=certificate)
    yield shim
    shim.check_serves()
    shim.end()


@pytest.fixture
def context(certificate: Certificate) -> ssl.SSLContext:
    """A client's."""
    return certificate.trusting()
