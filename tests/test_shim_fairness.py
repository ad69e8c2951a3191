"""Who asks much of the shim makes nobody else wait long."""

from __future__ import annotations

import json
from collections.abc import Callable

from nwdisco import config
from nwdisco.beacon.doors.shim import ShimDoor
from nwdisco.beacon.loop import Loop
from nwdisco.core.advert import Advert
from nwdisco.core.directory import Directory
from tests.fuzz.wire import Clock, Pipe

ASKERS = 20
MANY = config.SHIM_SERVICES_AT_ONCE + 1


def test_a_small_question_is_answered_before_large_ones_that_were_asked_earlier() -> None:
    clock, directory = Clock(), Directory("node-one")
    for number in range(MANY):
        directory.put(Advert(f"lamp/{number}", "10.0.0.2:80", {}, 5.0, "node-two", "node-two", 0.0))
    door = ShimDoor(clock.loop, directory, lambda: "10.0.0.1", lambda action: action())
    answered: list[Pipe] = []

    class Noted(Pipe):
        def write(self, data: bytes) -> None:
            answered.append(self)
            super().write(data)

    askers = [Noted(clock, door.connection(), config.MAX_SHIM_MESSAGE) for _ in range(ASKERS)]
    other = Noted(clock, door.connection(), config.MAX_SHIM_MESSAGE)
    for asker in askers:
        asker.send(b'{"type":"watch","key":"all"}\n')
    other.send(b'{"type":"query","key":"nobody"}\n')
    clock.run()
    assert answered.index(other) < ASKERS // 2
    for asker in askers:
        assert len(json.loads(asker.answers)["services"]) == MANY


def test_a_question_between_two_callbacks_of_the_moment_when_all_is_known_is_answered_once() -> None:
    """The door's own callback may be the later one: the client's asked for another callback, and so on without end."""
    clock = Clock()
    callbacks: list[Callable[[], None]] = []
    is_known = False

    def when_settled(action: Callable[[], None]) -> None:
        if is_known:
            action()
        else:
            callbacks.append(action)

    door = ShimDoor(clock.loop, Directory("node-one"), lambda: "10.0.0.1", when_settled)
    pipe = Pipe(clock, door.connection(), config.MAX_SHIM_MESSAGE)
    is_known = True
    pipe.send(b'{"type":"query","key":"nobody"}\n')
    clock.run()
    assert json.loads(pipe.answers) == {"ok": True, "services": []}
    for action in callbacks:
        action()
    pipe.send(b'{"type":"query","key":"nobody"}\n')
    clock.run()
    assert bytes(pipe.answers).count(b"\n") == 2


class Client:
    """A connection's other side: what it is told, write by write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.sent_late = 0
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def test_what_happens_at_once_is_told_a_watcher_in_one_write_and_a_new_watcher_not_twice() -> None:
    loop = Loop()
    door = ShimDoor(loop, Directory("node-one"), lambda: "10.0.0.1", lambda action: action())

    def client(*requests: bytes) -> Client:
        connection, transport = door.connection(), Client()
        connection.connection_made(transport)  # type: ignore[arg-type]
        for request in requests:
            connection.data_received(request + b"\n")
        return transport

    watch = b'{"type":"watch","key":"all"}'
    first = client(watch)
    client(*(b'{"type":"register","key":"k%d","values":"v"}' % number for number in range(10)))
    second = client(watch)
    loop.call_soon(loop.stop)
    loop.run()
    assert [write.count(b"joined") for write in first.writes] == [0, 10]
    assert [write.count(b"joined") for write in second.writes] == [0]
    assert second.writes[0].count(b'"key"') == 10


def test_who_reads_slowly_is_not_cut_off_and_who_reads_nothing_is() -> None:
    loop = Loop()
    door = ShimDoor(loop, Directory("node-one"), lambda: "10.0.0.1", lambda action: action())
    for reads in (True, False):
        client, transport = door.connection(), Client()
        client.connection_made(transport)  # type: ignore[arg-type]
        client.data_received(b'{"type":"query","key":"all"}\n')
        client.pause_writing()
        now = loop.time()
        for second in range(int(3 * config.SHIM_STALL_S)):
            transport.sent_late += 1000 * reads
            client.look_at_the_time(now + second)
        assert transport.aborted == (not reads)
