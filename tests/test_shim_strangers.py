"""Clients of other machines that have not shown the token, or need none, leave room for others, and do not stay for nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nwdisco import config
from nwdisco.beacon.doors.shim import ShimDoor
from nwdisco.core.directory import Directory
from tests.fuzz.wire import Clock, Pipe
from tests.shim import MAX_CONNECTIONS, QUERY, QUERY_LINE, frame, refusal
from tests.shim_door import TOKEN

MOST = 10
HALF = int(MOST * config.SHIM_STRANGERS_SHARE)
FROM_HERE, STRANGE = True, False
QUERY_WITH_TOKEN = b'{"type":"query","key":"nobody","token":"%s"}\n' % TOKEN.encode()
with_and_without_token = pytest.mark.parametrize("token", [TOKEN, None], ids=["with a token", "open to all"])


class Door:
    """The shim's, and the connections that are made to it, on a clock of the test's."""

    def __init__(self, token: str | None = TOKEN, most: int = MOST) -> None:
        self.clock = Clock()
        directory = Directory("node-one")
        self.door = ShimDoor(self.clock.loop, directory, lambda: "10.0.0.1", lambda act: act(), most, token)
        self.pipes: list[Pipe] = []

    def connect(self, from_here: bool, sent: bytes = b"") -> Pipe:
        pipe = Pipe(self.clock, self.door.connection(from_here), config.MAX_SHIM_MESSAGE)
        self.pipes.append(pipe)
        if sent:
            pipe.send(sent)
        self.clock.run()
        return pipe

    def ask(self, from_here: bool) -> dict[str, Any]:
        """What a client that connects now, shows the token, and stays, is answered."""
        answer: dict[str, Any] = json.loads(self.connect(from_here, QUERY_WITH_TOKEN).answers)
        return answer

    def serves(self, from_here: bool, count: int) -> bool:
        return all(self.ask(from_here)["ok"] for _ in range(count))

    @property
    def held(self) -> int:
        """Connections that have not ended."""
        return sum(not pipe.is_closing() for pipe in self.pipes)


# --- room ---


@with_and_without_token
def test_however_many_strangers_come_this_machine_s_clients_find_room(token: str | None) -> None:
    door = Door(token)
    for _ in range(HALF + 2 * config.SHIM_WAITING_ROOM):
        door.connect(STRANGE)
    assert door.held == HALF + config.SHIM_WAITING_ROOM
    assert door.serves(FROM_HERE, MOST - HALF)
    door.clock.run(config.SHIM_LINGER_S + 2)
    assert door.held == MOST, "those who were too many have gone"
    assert f"{MOST} clients are connected" in refusal(door.ask(FROM_HERE), "over_limit")


def test_without_strangers_this_machine_s_clients_have_all_the_room() -> None:
    door = Door()
    assert door.serves(FROM_HERE, MOST)
    refusal(door.ask(FROM_HERE), "over_limit")


@with_and_without_token
def test_a_stranger_too_many_is_told_so_in_its_own_dialect(token: str | None) -> None:
    door = Door(token)
    for _ in range(HALF):
        door.connect(STRANGE)
    for sent in (QUERY_WITH_TOKEN, frame(QUERY)):
        assert b"%d clients of other machines" % HALF in door.connect(STRANGE, sent).answers
    assert door.door.counters["over_limit"] > 0


def test_who_has_shown_the_token_is_no_stranger_and_leaves_its_room_to_the_next() -> None:
    door = Door()
    assert door.serves(STRANGE, MOST)
    refusal(door.ask(STRANGE), "over_limit")


def test_where_there_is_no_token_whoever_comes_from_elsewhere_stays_a_stranger() -> None:
    door = Door(None)
    assert door.serves(STRANGE, HALF)
    refusal(door.ask(STRANGE), "over_limit")
    door.pipes[0].end()
    door.clock.run()
    assert door.serves(STRANGE, 1), "room came back"


@with_and_without_token
def test_a_thousand_clients_of_other_machines_find_room_at_once(token: str | None) -> None:
    door = Door(token, MAX_CONNECTIONS)
    for _ in range(1000):
        door.connect(STRANGE)
    for pipe in door.pipes:
        pipe.send(QUERY_WITH_TOKEN)
        door.clock.run()
        assert json.loads(pipe.answers)["ok"]


# --- time ---


@pytest.mark.parametrize(
    ("token", "from_here", "stays"),
    [(TOKEN, STRANGE, False), (TOKEN, FROM_HERE, True), (None, STRANGE, True), (None, FROM_HERE, True)],
)
def test_a_silent_client_that_needs_the_token_is_soon_cut_off(token: str | None, from_here: bool, stays: bool) -> None:
    door = Door(token)
    door.connect(from_here)
    door.clock.run(config.SHIM_MESSAGE_S - 1)
    assert door.held == 1
    door.clock.run(3)
    assert door.held == int(stays)
    assert len(door.door.clients) == int(stays)


@pytest.mark.parametrize("sent", [b"\n", QUERY_LINE, b"{", frame(QUERY)[:10]])
def test_nothing_but_the_token_makes_a_stranger_s_time_longer(sent: bytes) -> None:
    door = Door()
    pipe = door.connect(STRANGE, sent)
    for _ in range(4):
        door.clock.run((config.SHIM_MESSAGE_S - 1) / 4)
        pipe.send(sent[-1:])
    assert b"timeout" not in pipe.answers
    door.clock.run(3)
    assert b"with the token" in pipe.answers
    assert door.door.counters["timeout"] == 1
    door.clock.run(config.SHIM_LINGER_S + 2)
    assert door.held == 0
    assert door.door.strangers == set()


def test_who_has_shown_the_token_stays_as_long_as_anybody() -> None:
    door = Door()
    assert door.serves(STRANGE, 1)
    door.clock.run(config.SHIM_IDLE_S - 1)
    assert door.held == 1
    door.clock.run(config.SHIM_LINGER_S + 4)
    assert door.held == 0
