"""Requests to the control door in one piece, in many or many in one: answers and events come in the order of the requests."""

from __future__ import annotations

import socket
from threading import Thread

import pytest

from tests.control_client import GREETING, LIST, STATUS, Door, beacon_fixture, door_fixture  # noqa: F401 (fixtures)
from tests.machines import wait_until

# --- how it arrives ---


def test_byte_by_byte_is_as_good_as_at_once(door: Door) -> None:
    with door.raw() as raw:
        for byte in GREETING + b'{"do":"advertise","name":"slow","address":":80"}\n' + LIST:
            raw.send(bytes([byte]))
        assert raw.line() == {"address": "127.0.0.1:80"}
        assert [advert[0] for advert in raw.line()["adverts"]] == ["slow"]
    assert door.counted() == {}


def test_two_requests_in_one_packet_are_answered_in_their_order(door: Door) -> None:
    first, second = b'{"do":"advertise","name":"x","address":":80"}\n', b'{"do":"discover","name":"x"}\n'
    with door.raw(GREETING + first + second + LIST) as raw:
        assert raw.line() == {"address": "127.0.0.1:80"}
        assert raw.line() == {"address": "127.0.0.1:80"}
        assert [advert[0] for advert in raw.line()["adverts"]] == ["x"]


@pytest.mark.parametrize("request_", [LIST, STATUS, b'{"do":"discover","name":"nobody"}\n', b"garbage\n"])
def test_four_thousand_requests_at_once_are_all_answered(door: Door, request_: bytes) -> None:
    with door.raw() as raw:
        sending = Thread(target=raw.send, args=(GREETING + request_ * 4000,))
        sending.start()
        first = raw.line()
        for _ in range(3999):
            assert raw.line().keys() == first.keys()
        sending.join()


def test_a_half_closed_connection_gets_its_answers_and_its_advert_ends(door: Door) -> None:
    with door.raw(GREETING + b'{"do":"advertise","name":"half","address":":80"}\n' + LIST) as raw:
        raw.end.shutdown(socket.SHUT_WR)
        assert raw.line() == {"address": "127.0.0.1:80"}
        assert [advert[0] for advert in raw.line()["adverts"]] == ["half"]
        assert raw.line() is None
        wait_until(lambda: door.status()["adverts"] == 0, "the end of the half-closed program's advert")


@pytest.mark.parametrize("cut", [5, len(GREETING), len(GREETING) + 10, -1])
def test_a_connection_that_ends_in_the_middle_leaves_nothing(door: Door, cut: int) -> None:
    whole = GREETING + b'{"do":"advertise","name":"cut","address":":80"}\n'
    with door.raw(whole[:cut]):
        pass
    wait_until(lambda: door.status()["programs"] == 1, "the end of the connection")
    assert door.status()["adverts"] == 0


# --- the order of what happens ---


def test_what_follows_a_waiting_request_is_served_in_its_order(door: Door) -> None:
    waiting = b'{"do":"discover","name":"x","wait_s":null}\n'
    advertise = b'{"do":"advertise","name":"x","address":":80"}\n'
    with door.raw(GREETING, waiting, LIST * 100) as raw, door.raw(GREETING, advertise) as other:
        assert other.line() == {"address": "127.0.0.1:80"}
        assert raw.line() == {"address": "127.0.0.1:80"}
        for _ in range(100):
            assert [advert[0] for advert in raw.line()["adverts"]] == ["x"]


def test_who_answers_an_event_at_once_does_not_turn_round_what_others_hear(door: Door) -> None:
    """A program that waited for a name has the next request, a newer advert of that name, ready in the same packet."""
    advertise = b'{"do":"advertise","name":"x","address":":%d"}\n'
    with door.raw(GREETING, b'{"do":"watch"}\n') as watcher:
        assert watcher.line() == {"there": []}
        with door.raw(GREETING, b'{"do":"discover","name":"x","wait_s":null}\n' + advertise % 2) as hasty:
            wait_until(lambda: door.status()["programs"] == 3, "the hasty program")
            with door.raw(GREETING, advertise % 1) as first:
                assert first.line() == {"address": "127.0.0.1:1"}
                assert hasty.line() == {"address": "127.0.0.1:1"}
                assert hasty.line() == {"address": "127.0.0.1:2"}
                heard = [watcher.line() for _ in range(2)]
    assert [(e["event"], e["advert"][1]) for e in heard] == [("joined", "127.0.0.1:1"), ("changed", "127.0.0.1:2")]


def test_a_watch_that_goes_on_talking_is_not_listened_to(door: Door) -> None:
    with door.raw(GREETING, b'{"do":"watch"}\n', b'{"do":"advertise","name":"x","address":":80"}\n' * 10) as watcher:
        assert watcher.line() == {"there": []}
        with door.raw(GREETING, b'{"do":"advertise","name":"y","address":":80"}\n') as other:
            assert other.line() == {"address": "127.0.0.1:80"}
            assert watcher.line()["advert"][0] == "y"
