"""A program for the tests that says anything at all to a real beacon's control door: raw bytes on its socket.

A module that tests the door imports both fixtures: `beacon`, one for all its tests, and `door`, which after each test
checks that the beacon still serves and holds nothing. The counters are those of `nwdisco status`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.machines import DEADLINE_S, Machine, wait_until
from tests.ports import free_port

GREETING = b"nwdisco-control 1\n"
LIST = b'{"do":"list"}\n'
STATUS = b'{"do":"status"}\n'


class Raw:
    """A connection to the door that sends whatever it is told."""

    def __init__(self, door: Path, *parts: bytes) -> None:
        self.end = socket.socket(socket.AF_UNIX)
        self.end.connect(str(door))
        self.end.settimeout(DEADLINE_S)
        self._lines = self.end.makefile("rb")
        for part in parts:
            self.send(part)

    def send(self, data: bytes) -> None:
        self.end.sendall(data)

    def line(self) -> Any:
        """The next answer; None at the end of the connection."""
        try:
            line = self._lines.readline()
        except ConnectionResetError:  # it closed the connection without reading all that was sent
            return None
        return json.loads(line) if line else None

    def close(self) -> None:
        self._lines.close()
        self.end.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Door:
    """The door of one beacon for all tests of a module; counters are those since the test began."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.path = machine.runtime_dir / "beacon.sock"
        self.pid: int = self.status()["pid"]
        self._counters_before: dict[str, int] = self.status()["control"]

    def raw(self, *parts: bytes) -> Raw:
        return Raw(self.path, *parts)

    def status(self) -> dict[str, Any]:
        with self.raw(GREETING, STATUS) as raw:
            answer: dict[str, Any] = raw.line()
            return answer

    def counted(self) -> dict[str, int]:
        before = self._counters_before
        counters: dict[str, int] = self.status()["control"]
        return {what: count - before.get(what, 0) for what, count in counters.items() if count != before.get(what, 0)}

    def check_still_serves(self) -> None:
        with self.raw(GREETING, b'{"do":"advertise","name":"still/here","address":":80"}\n') as raw:
            answer = raw.line()
            assert answer == {"address": "127.0.0.1:80"}, f"an advert is answered with {answer}"
            with self.raw(GREETING, b'{"do":"discover","name":"still/here"}\n') as other:
                answer = other.line()
                assert answer == {"address": "127.0.0.1:80"}, f"a discover is answered with {answer}"

    def check_nothing_is_left(self) -> None:
        wait_until(lambda: self.status()["programs"] == 1, "the end of all connections but the one that asks")
        status = self.status()
        assert status["adverts"] == 0, f"{status['adverts']} adverts are left"
        assert status["pid"] == self.pid, "the beacon was replaced"
        log = (self.machine.runtime_dir / "beacon.log").read_text()
        assert "Traceback" not in log, f"the beacon complained: {log}"


@pytest.fixture(name="beacon", scope="module")
def beacon_fixture() -> Iterator[Machine]:
    with TemporaryDirectory(prefix="nwd-") as place:
        machine = Machine(Path(place) / "m", NWDISCO_INTERFACES="lo", NWDISCO_PORT=str(free_port()))
        machine.call("discover_all")
        yield machine
        machine.close()


@pytest.fixture(name="door")
def door_fixture(beacon: Machine) -> Iterator[Door]:
    """Whatever a test sends: after it the beacon serves, complains of nothing and holds nothing."""
    door = Door(beacon)
    yield door
    door.check_still_serves()
    door.check_nothing_is_left()
