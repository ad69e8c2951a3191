"""The beacon's event loop, on real sockets of this process."""

from __future__ import annotations

import socket

import pytest

from nwdisco.beacon.loop import TIMERS_BEFORE_TIDYING, Loop, Stream


class Answering:
    """Answers whatever comes with ten megabytes, more than any socket holds."""

    ANSWER = b"x" * 10_000_000

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.pauses: list[str] = []

    def connection_made(self, transport: Stream) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.ANSWER)

    def pause_writing(self) -> None:
        self.pauses.append("pause")

    def resume_writing(self) -> None:
        self.pauses.append("resume")

    def eof_received(self) -> None:
        self.pauses.append("end")

    def connection_lost(self) -> None:
        self.pauses.append("lost")
        self.loop.stop()


def test_who_ends_his_side_still_gets_the_whole_answer() -> None:
    loop = Loop()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    protocol = Answering(loop)
    received = bytearray()

    def read() -> None:
        received.extend(theirs.recv(1 << 20))

    with theirs:
        Stream(loop, ours, protocol)
        theirs.send(b"?")
        theirs.shutdown(socket.SHUT_WR)
        loop.add_reader(theirs, read)
        loop.call_later(20, loop.stop)
        loop.run()
        loop.remove_reader(theirs)
        while part := theirs.recv(1 << 20):
            received.extend(part)
    assert len(received) == len(protocol.ANSWER)
    assert protocol.pauses == ["pause", "end", "lost"]


def test_after_write_eof_all_is_sent_then_the_end_and_what_comes_is_still_read() -> None:
    loop = Loop()
    ours, theirs = socket.socketpair()
    protocol = Answering(loop)
    received = bytearray()
    after_the_end: list[bytes] = []

    def hear(data: bytes) -> None:
        after_the_end.append(data)
        loop.stop()

    def read() -> None:
        part = theirs.recv(1 << 20)
        received.extend(part)
        if not part:
            loop.remove_reader(theirs)
            theirs.send(b"thanks")

    protocol.data_received = hear  # type: ignore[method-assign]
    with theirs:
        stream = Stream(loop, ours, protocol)
        stream.write(protocol.ANSWER)
        stream.write_eof()
        stream.write(b"too late")
        loop.add_reader(theirs, read)
        loop.call_later(20, loop.stop)
        loop.run()
        stream.abort()
    assert len(received) == len(protocol.ANSWER)
    assert after_the_end == [b"thanks"]


def test_a_stream_whose_other_side_has_gone_is_lost_though_much_is_unsent() -> None:
    loop = Loop()
    ours, theirs = socket.socketpair()
    protocol = Answering(loop)
    Stream(loop, ours, protocol)
    theirs.send(b"?")
    loop.call_later(0.01, theirs.close)
    loop.call_later(20, loop.stop)
    loop.run()
    assert protocol.pauses == ["pause", "lost"]


def test_an_action_that_raises_is_logged_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    loop = Loop()
    loop.call_soon(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    loop.call_soon(loop.stop)
    loop.run()
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_timers_run_in_their_order_and_cancelled_ones_neither_run_nor_stay() -> None:
    loop = Loop()
    ran: list[int] = []
    for number in range(10 * TIMERS_BEFORE_TIDYING):
        loop.call_later(60, ran.append, number).cancel()
    assert len(loop._timers) <= TIMERS_BEFORE_TIDYING
    now = loop.time()
    for number in (3, 1, 2):
        loop.call_at(now + number / 1000, ran.append, number)
    loop.call_at(now + 0.004, loop.stop)
    loop.run()
    assert ran == [1, 2, 3]
