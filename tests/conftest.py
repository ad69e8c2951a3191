"""Machines for the tests, cleaned up after them. With NWDISCO_TESTS_NO_SKIP (in CI) a test that would skip fails."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import zmq

from tests import namespaces
from tests.etcd import Etcd, missing_etcd, running
from tests.machines import Machine
from tests.namespaces import Network
from tests.ports import free_port

pytest.register_assert_rewrite("tests.registry_contract", "tests.registry_contract_following", "tests.registry_tools")
LONGEST = {"test_simulator.py", "test_soak.py", "test_gateway_load.py", "test_attacker_hosts.py"}
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")  # a busy machine is no fault
NO_SKIP = bool(os.environ.get("NWDISCO_TESTS_NO_SKIP"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that nobody waits for it alone at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where nothing may be missing, a skip is a failure."""
    report = yield
    if NO_SKIP and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, where no test may skip: {report.longrepr}"
    return report


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path (Unix sockets take 100 bytes), removed after the test."""
    with tempfile.TemporaryDirectory(prefix="nwd-") as directory:
        yield Path(directory)


@pytest.fixture
def machine(place: Path) -> Iterator[Machine]:
    """This machine with no network but loopback, and a beacon of the test's own."""
    machine = Machine(place / "m", NWDISCO_INTERFACES="lo", NWDISCO_PORT=str(free_port()))
    yield machine
    machine.close()


@pytest.fixture
def many_neighbours() -> Iterator[None]:
    """All namespaces share the kernel's one table of neighbours (ARP), by default too small for 50 that all know each other."""
    limit = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
    if os.geteuid() != 0:
        yield  # the network's own fixture says why the test skips
        return
    before = limit.read_text()
    limit.write_text("16384")
    yield
    limit.write_text(before)


@pytest.fixture
def network(place: Path) -> Iterator[Network]:
    """An empty network for real hosts; needs root."""
    reason = namespaces.why_not()
    if reason is not None:
        pytest.skip(reason)
    network = Network(place)
    yield network
    network.close()


@pytest.fixture
def etcd() -> Iterator[Etcd]:
    """A real etcd, on a free port of loopback."""
    reason = missing_etcd()
    if reason is not None:
        pytest.skip(reason)
    with running() as etcd:
        yield etcd


@pytest.fixture
def wire() -> Iterator[zmq.Context[Any]]:
    """Bare sockets that do not wait for ever, gone after the test."""
    context = zmq.Context()
    context.linger = 0
    context.rcvtimeo = context.sndtimeo = 20_000
    yield context
    context.destroy()
