"""The beacon's doors for programs, control and shim, with all but their sockets real: several clients, and time that passes.

Each script is played twice, once with every step in one piece and once cut into small ones: the answers must be the same, unless
several clients wait at the same time.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import count

from nwdisco import config
from nwdisco.beacon.doors.control import ControlDoor
from nwdisco.beacon.doors.shim import ShimDoor
from nwdisco.core.advert import Advert
from nwdisco.core.directory import Directory
from nwdisco.core.shim import Shim

from .limits import small
from .rules import check_directory
from .script import PAUSES_S, Step, steps
from .wire import Clock, Pipe

NODE = "node-own"
CLIENTS = 3
SETTLE_S = 0.3
"""So long after its start the beacon knows the LAN's adverts, and what asks for them is answered."""
PIECES = (1, 2, 3, 5, 8, 13, 64, 512)
"""Into pieces of how many bytes a step is cut."""


class Door(ABC):
    """A door in its beacon, and its clients."""

    pauses_between_pieces: bool
    """Whether the loop takes a turn between two pieces. Only where no limit counts what waits to be read."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.directory = Directory(NODE)
        self.directory.put(Advert("a/b", "10.0.0.2:80", {"k": "v"}, 5.0, "node-two", "node-two", 0.0), 0.0)
        self.pipes: list[Pipe] = []
        self._open: dict[int, Pipe] = {}
        self._settled_at = self.clock.now + SETTLE_S
        self.crowded = False
        """Several clients had requests that wait: whose turn comes first is nobody's promise."""

    @abstractmethod
    def connect(self) -> Pipe: ...

    @abstractmethod
    def check(self) -> None:
        """The door's own bounds."""

    def when_settled(self, action: Callable[[], None]) -> None:
        if self.clock.now >= self._settled_at:
            action()
        else:
            self.clock.call_at(self._settled_at, action)

    def play(self, step: Step, piece: int) -> None:
        client = step.bits(0, 2) % CLIENTS
        pipe = self._open.get(client)
        if pipe is None or pipe.is_closing():
            pipe = self._open[client] = self.connect()
            self.pipes.append(pipe)
        for begin in range(0, len(step.payload), piece):
            pipe.send(step.payload[begin : begin + piece])
            if self.pauses_between_pieces:
                self.clock.run()
        self.crowded = self.crowded or sum(pipe.waits for pipe in self.pipes) > 1
        if step.bits(7, 1):
            pipe.end()
            del self._open[client]
        self.clock.run(PAUSES_S[step.bits(2, 2)])
        self.check()

    def answers(self) -> list[list[bytes]]:
        return [_answers(bytes(pipe.answers)) for pipe in self.pipes]

    def hang_up(self) -> None:
        check_directory(self.directory, self.clock.now)
        for pipe in self.pipes:
            if not pipe.is_closing():
                pipe.end()
        self.clock.run(config.MAX_TTL_S * 0.001)
        self.check()


class Control(Door):
    pauses_between_pieces = False

    def __init__(self) -> None:
        super().__init__()
        status: Callable[[], dict[str, object]] = lambda: {"adverts": len(self.directory)}  # noqa: E731
        self.door = ControlDoor(
            self.clock.loop, self.directory, lambda: "10.0.0.1", self.when_settled, status, lambda: None
        )

    def connect(self) -> Pipe:
        return Pipe(self.clock, self.door.connection(), 65_536)

    def check(self) -> None:
        door = self.door
        assert len(door.connections) <= config.MAX_CONTROL_CONNECTIONS
        assert sum(map(len, door.waiting.values())) <= len(door.connections), "somebody waits who has gone"
        assert set(door.watching) <= door.connections, "somebody watches who has gone"
        for connection in door.connections:
            assert self.directory.count_held_by(connection._holder) <= config.MAX_ADVERTS_PER_PROGRAM

    def hang_up(self) -> None:
        super().hang_up()
        assert len(self.directory) == 1, "adverts outlived their connections"


class ShimPort(Door):
    pauses_between_pieces = True

    def __init__(self) -> None:
        super().__init__()
        self.door = ShimDoor(self.clock.loop, self.directory, lambda: "10.0.0.1", self.when_settled, most=4)
        numbers = count(1)
        self.door.shim = Shim(self.directory, lambda: "10.0.0.1", lambda: f"uuid-{next(numbers)}")

    def connect(self) -> Pipe:
        return Pipe(self.clock, self.door.connection(from_here=True), config.MAX_SHIM_MESSAGE)

    def check(self) -> None:
        registrations = self.door.shim.registrations
        assert len(registrations) <= config.MAX_SHIM_REGISTRATIONS
        held = self.directory.count_held_by(registrations.holder)
        assert held == len(registrations), f"{len(registrations)} registrations, {held} adverts"
        assert {client for clients in self.door.watching.values() for client in clients} <= self.door.clients


def control(data: bytes) -> None:
    _play_twice(Control, data)


def shim(data: bytes) -> None:
    _play_twice(ShimPort, data)


def _play_twice(make: type[Door], data: bytes) -> None:
    whole, in_pieces = _played(make, data, whole=True), _played(make, data, whole=False)
    same = whole.answers() == in_pieces.answers()
    assert same or whole.crowded or in_pieces.crowded, "the pieces change the answers"


def _played(make: type[Door], data: bytes, whole: bool) -> Door:
    with small():
        door = make()
        for step in steps(data):
            door.play(step, max(1, len(step.payload)) if whole else PIECES[step.bits(4, 3)])
        door.hang_up()
        return door


def _answers(written: bytes) -> list[bytes]:
    """One client's, without the news that a watch tells: how these fall between answers is a matter of turns, too."""
    if not written.startswith(b"{"):
        return _frames(written)
    lines = written.split(b"\n")
    assert lines.pop() == b"", f"half a line: {written[-80:]!r}"
    for line in lines:
        assert isinstance(json.loads(line), dict), f"no object: {line[:80]!r}"
    return [line for line in lines if not line.startswith((b'{"event"', b'{"ok":true,"event"'))]


def _frames(written: bytes) -> list[bytes]:
    """One frame at most, and a whole one."""
    if written:
        end = 2 + int.from_bytes(written[:2], "big")
        header = json.loads(written[2:end])
        assert len(written) == end + header["content-length"], f"no frame: {written[:200]!r}"
    return [written]
