"""What who follows on the local network hears when a beacon ends at a bad moment, told by beacons that do as they are told."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nwdisco.errors import BeaconError
from nwdisco.services import InstanceEvent, LanSource, lan
from tests.machines import DEADLINE_S, wait_until

Beacon = Callable[[socket.socket], None]
"""What a beacon does with one connection, until it ends."""
Beacons = Callable[..., None]


def advert(id: str) -> list[Any]:
    return [f"kiosk/{id}", "127.0.0.1:9100", {}, "node", 0.0]


def ends(connection: socket.socket) -> None:
    """Before it has answered."""


def says(*messages: dict[str, Any]) -> Beacon:
    """This, and then nothing until the program is gone."""

    def say(connection: socket.socket) -> None:
        for message in messages:
            connection.sendall(json.dumps(message).encode() + b"\n")
        connection.recv(1)

    return say


THERE = {"there": [advert("a1")]}


@pytest.fixture
def beacons(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Beacons]:
    """One after the other, each for one connection; the last one for all that come."""
    monkeypatch.setenv("NWDISCO_RUNTIME_DIR", str(place))
    threads: list[threading.Thread] = []
    with socket.socket(socket.AF_UNIX) as listener:

        def run(each: tuple[Beacon, ...]) -> None:
            turns = iter(each)
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return  # the test is over
                with connection, connection.makefile("rb") as requests:
                    connection.settimeout(DEADLINE_S)
                    requests.readline()  # the greeting
                    requests.readline()
                    next(turns, each[-1])(connection)

        def begin(*each: Beacon) -> None:
            listener.bind(str(place / "beacon.sock"))
            listener.listen()
            threads.append(threading.Thread(target=run, args=(each,)))
            threads[-1].start()

        yield begin
        listener.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(DEADLINE_S)


@pytest.fixture
def source() -> Iterator[LanSource]:
    source = LanSource()
    yield source
    source.close()
    wait_until(lambda: not any(t.name == "nwdisco: follows kiosk" for t in threading.enumerate()), "its thread gone")


class Heard(list[InstanceEvent]):
    def told(self) -> list[str]:
        return [f"{event.kind} {event.instance.id}" for event in self]


def test_who_begins_to_follow_as_beacons_end_is_told_of_all_by_the_first_that_answers(
    beacons: Beacons, source: LanSource
) -> None:
    beacons(ends, ends, ends, says(THERE))
    heard = Heard()
    source.follow("lan", "kiosk", heard.append)
    assert heard.told() == ["joined a1"]


def test_where_one_beacon_after_the_other_ends_it_says_so(
    beacons: Beacons, source: LanSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    beacons(ends)
    monkeypatch.setattr(lan, "TRIES_S", 0.1)
    with pytest.raises(BeaconError, match=r"one beacon after the other ended: see beacon\.log"):
        source.follow("lan", "kiosk", print)


def test_who_begins_anew_after_trouble_as_beacons_end_hears_of_nobody_who_left_and_came(
    beacons: Beacons, source: LanSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble = {"error": "beacon", "message": "it has had enough"}
    later = {"event": "joined", "advert": advert("a2")}
    beacons(says(THERE, trouble), ends, ends, says(THERE, later))
    monkeypatch.setattr(lan, "AGAIN_S", 0.01)
    heard = Heard()
    source.follow("lan", "kiosk", heard.append)
    wait_until(lambda: "joined a2" in heard.told(), "a2, of the last beacon")
    assert heard.told() == ["joined a1", "joined a2"]
