"""Who asks much of the shim makes nobody else wait long."""

from __future__ import annotations

import select
from contextlib import ExitStack

from nwdisco import config
from nwdisco.beacon.doors.shim import ShimDoor
from nwdisco.beacon.loop import Loop
from nwdisco.core.directory import Directory
from tests.machines import Machine
from tests.shim import Shim, flood

ASKERS = 20


def test_a_small_question_is_answered_before_large_ones_that_were_asked_earlier(machine: Machine) -> None:
    shim = Shim(machine)
    with flood(shim, config.MAX_SHIM_REGISTRATIONS, "lines") as flooding:
        assert flooding.stdout is not None
        flooding.stdout.readline()
    with ExitStack() as stack:
        askers = [stack.enter_context(shim.wire()) for _ in range(ASKERS)]
        other = stack.enter_context(shim.wire())
        for asker in askers:
            asker.say(type="watch", key="all")
        assert other.ask(type="query", key="nobody") == {"ok": True, "services": []}
        answered, _, _ = select.select([asker.end for asker in askers], [], [], 0)
        assert len(answered) < ASKERS // 2
        for asker in askers:
            assert len(asker.line()["services"]) == config.MAX_SHIM_REGISTRATIONS
    shim.end()


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
