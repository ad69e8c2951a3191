"""This machine's interfaces as the beacon, the addresses and the doctor look at them, while they come and go."""

from __future__ import annotations

import socket
import subprocess
import sys

import netifaces
import pytest

from nwdisco import addresses
from nwdisco.beacon.interfaces import interfaces
from nwdisco.doctor import machine
from nwdisco.settings import Settings

GONE = "gone0"
MEMORY_OF_LOOKS = """
from nwdisco.beacon.interfaces import interfaces
def look(times):
    for _ in range(times):
        interfaces()
    return int(open("/proc/self/statm").read().split()[1]) * 4096
before = look(3000)
print((look(30_000) - before) / 30_000)
"""


@pytest.fixture
def one_vanishes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is listed, and has gone when it is looked at."""
    listed, numbered = netifaces.interfaces(), socket.if_nameindex()
    monkeypatch.setattr(netifaces, "interfaces", lambda: [*listed, GONE])
    monkeypatch.setattr(socket, "if_nameindex", lambda: [*numbered, (9999, GONE)])


@pytest.mark.usefixtures("one_vanishes")
def test_an_interface_that_vanishes_while_it_is_looked_at_is_left_out() -> None:
    names = [one.name for one in interfaces()]
    assert names
    assert GONE not in names
    assert interfaces((GONE,)) == []
    assert "127.0.0.1" in addresses.own_addresses()
    seen = [one.name for one in machine.interfaces(Settings.from_environment({}))]
    assert "lo" in seen
    assert GONE not in seen


def test_an_interface_without_an_address_is_there_to_the_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netifaces, "ifaddresses", lambda name: {})
    seen = machine.interfaces(Settings.from_environment({}))
    assert "lo" in [one.name for one in seen]
    assert {one.ip for one in seen} == {""}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's memory so")
def test_looks_once_a_second_for_months_take_no_memory() -> None:
    """netifaces.interfaces() loses 48 bytes for each interface at each call."""
    done = subprocess.run([sys.executable, "-c", MEMORY_OF_LOOKS], capture_output=True, text=True, timeout=300)
    assert float(done.stdout) < 24, done
