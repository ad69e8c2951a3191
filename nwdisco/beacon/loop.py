"""The beacon's event loop: readable sockets, timers, streams, signals, and nothing else.

Its methods have asyncio's names and meaning, so that links and doors run on either; asyncio itself takes longer to import than
all the rest of a beacon's start, and 5 MB, and every program's first call waits for that start (docs/benchmarks.md).
"""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from typing import Any, Protocol

READ_AT_ONCE = 65_536
SEND_AT_ONCE = 1_000_000
ACCEPT_AT_ONCE = 64
MUCH_UNSENT = 65_536
"""Bytes that wait for a program to read them; above it the protocol is told to pause, below a quarter to go on."""
TIMERS_BEFORE_TIDYING = 1000
NO_FILES_LEFT_S = 1.0
"""When no more files can be opened: how long no connection is taken."""


def log(text: str) -> None:
    """A line for whoever looks after the beacon: to the terminal, or beacon.log."""
    print(time.strftime("%Y-%m-%d %H:%M:%S"), text, file=sys.stderr, flush=True)


class Timer:
    """A planned call, which can be cancelled."""

    __slots__ = ("_action", "_when")

    def __init__(self, when: float, action: Callable[[], None]) -> None:
        self._when = when
        self._action: Callable[[], None] | None = action

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self._action = None

    def cancelled(self) -> bool:
        return self._action is None

    def run(self) -> None:
        if self._action is not None:
            self._action()


class StreamProtocol(Protocol):
    """What a door makes for each connection; asyncio.Protocol has the same methods."""

    def connection_made(self, transport: Stream) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def eof_received(self) -> None: ...  # the other side sends no more: the last moment to answer
    def connection_lost(self) -> None: ...


class Loop:
    """Runs actions one after the other. One that raises is logged, and the others go on."""

    def __init__(self) -> None:
        self._selector = DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._tidy_at = TIMERS_BEFORE_TIDYING
        """At so many timers, those that were cancelled are thrown out."""
        self._order = count()
        self._running = True
        self.turns = 0
        """How often it has looked what is ready."""

    time = staticmethod(time.monotonic)

    def call_at(self, when: float, action: Callable[..., None], *args: Any) -> Timer:
        timer = Timer(when, (lambda: action(*args)) if args else action)
        if len(self._timers) >= self._tidy_at:
            self._timers = [planned for planned in self._timers if not planned[2].cancelled()]
            heapify(self._timers)
            self._tidy_at = max(TIMERS_BEFORE_TIDYING, 2 * len(self._timers))
        heappush(self._timers, (when, next(self._order), timer))
        return timer

    def call_soon(self, action: Callable[..., None], *args: Any) -> Timer:
        return self.call_at(self.time(), action, *args)

    def call_later(self, delay_s: float, action: Callable[..., None], *args: Any) -> Timer:
        return self.call_at(self.time() + delay_s, action, *args)

    def add_reader(self, end: socket.socket | int, action: Callable[..., None], *args: Any) -> None:
        self.watch(end, EVENT_READ, lambda _mask: action(*args))

    def remove_reader(self, end: socket.socket | int) -> None:
        self._selector.unregister(end)

    def watch(self, end: socket.socket | int, mask: int, action: Callable[[int], None]) -> None:
        """Call `action(what is ready)` whenever some of `mask` is; once more with another mask changes it, 0 ends it."""
        known = end in self._selector.get_map()
        if not mask:
            if known:
                self._selector.unregister(end)
        elif known:
            self._selector.modify(end, mask, action)
        else:
            self._selector.register(end, mask, action)

    def serve(
        self, listening: socket.socket, make: Callable[[], StreamProtocol], read_at_once: int = READ_AT_ONCE
    ) -> None:
        """Take connections, with a protocol object for each that gets so many bytes at a time at most."""
        listening.setblocking(False)

        def accept() -> None:
            for _ in range(ACCEPT_AT_ONCE):
                try:
                    end, _address = listening.accept()
                except BlockingIOError:
                    return
                except OSError as error:  # no more files can be opened, as a rule: those that are open go on
                    log(f"no connection can be taken: {error.strerror}")
                    self.remove_reader(listening)
                    self.call_later(NO_FILES_LEFT_S, self.add_reader, listening, accept)
                    return
                Stream(self, end, make(), read_at_once)

        self.add_reader(listening, accept)

    def stop_on(self, *numbers: signal.Signals) -> None:
        """Signals that end the loop."""
        woken, waker = socket.socketpair()
        woken.setblocking(False)
        waker.setblocking(False)
        self.add_reader(woken, self.stop)
        signal.set_wakeup_fd(waker.detach())
        for number in numbers:
            signal.signal(number, lambda _number, _frame: None)

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        """Until `stop`."""
        while self._running:
            self.turns += 1
            wait_s = max(0.0, self._timers[0][0] - self.time()) if self._timers else None
            for key, mask in self._selector.select(wait_s):
                try:
                    key.data(mask)
                except Exception:
                    _report()
            now = self.time()
            while self._timers and self._timers[0][0] <= now:
                try:
                    heappop(self._timers)[2].run()
                except Exception:
                    _report()


def _report() -> None:
    try:
        import traceback

        text = traceback.format_exc()
    except OSError:  # no files left, not even for that
        text = repr(sys.exc_info()[1])
    log("an error in the beacon itself, which goes on; please report it:\n" + text)


class Stream:
    """One connection: what is written goes out as fast as the other side reads, without ever waiting for it."""

    def __init__(
        self, loop: Loop, end: socket.socket, protocol: StreamProtocol, read_at_once: int = READ_AT_ONCE
    ) -> None:
        self._loop = loop
        self._read_at_once = read_at_once
        self._end = end
        self._protocol = protocol
        self._unsent = bytearray()
        self.sent_late = 0
        """Bytes that had to wait, and have gone out: whether the other side reads at all."""
        self._mask = 0
        self._reading = True
        self._says_end = False
        """We write no more, and the other side is to know once all is sent."""
        self._paused = False
        """The protocol knows that much is unsent."""
        self._closing = False
        self._lost = False
        end.setblocking(False)
        protocol.connection_made(self)
        self._update()

    def write(self, data: bytes) -> None:
        if self._closing or self._says_end:
            return
        if not self._unsent and (sent := self._send(data)):
            if sent == len(data):
                return
            data = data[sent:]
        if not self._lost:
            self._unsent += data
            self._update()
            if len(self._unsent) > MUCH_UNSENT and not self._paused:
                self._paused = True
                self._protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def pause_reading(self) -> None:
        self._reading = False
        self._update()

    def resume_reading(self) -> None:
        self._reading = True
        self._update()

    def write_eof(self) -> None:
        """Tell the other side that nothing follows, once all is sent, and go on reading."""
        self._says_end = True
        if not (self._unsent or self._lost):
            self._shut_writing()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """End it once all is sent."""
        self._closing = True
        if self._unsent:
            self._update()
        else:
            self.abort()

    def abort(self) -> None:
        """End it now; the protocol hears of it afterwards."""
        if not self._lost:
            self._lost = self._closing = True
            self._loop.watch(self._end, 0, self._ready)
            self._end.close()
            self._loop.call_soon(self._protocol.connection_lost)

    def _ready(self, mask: int) -> None:
        if mask & EVENT_WRITE and not self._lost:
            self._send_on()
        if self._closing or not mask & EVENT_READ:
            return
        try:
            data = self._end.recv(self._read_at_once)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # reset
            self.abort()
            return
        if not data:
            self._protocol.eof_received()
            self.close()  # what it asked for before it ended its side is still sent; writing fails if it has gone
            return
        try:
            self._protocol.data_received(data)
        except Exception:
            self.abort()
            raise

    def _send(self, data: bytes | memoryview) -> int:
        try:
            return self._end.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:  # the other side has gone
            self.abort()
            return 0

    def _send_on(self) -> None:
        with memoryview(self._unsent) as unsent, unsent[:SEND_AT_ONCE] as part:
            sent = self._send(part)
        if self._lost:
            return
        del self._unsent[:sent]
        self.sent_late += sent
        if not self._unsent:
            if self._closing:
                self.abort()
                return
            if self._says_end:
                self._shut_writing()
        self._update()
        if self._paused and len(self._unsent) <= MUCH_UNSENT // 4:
            self._paused = False
            self._protocol.resume_writing()

    def _shut_writing(self) -> None:
        try:
            self._end.shutdown(socket.SHUT_WR)
        except OSError:  # the other side has gone
            self.abort()

    def _update(self) -> None:
        """Listen for what is wanted now."""
        if self._lost:
            return
        reading = self._reading and not self._closing
        mask = (EVENT_READ if reading else 0) | (EVENT_WRITE if self._unsent else 0)
        if mask != self._mask:
            self._mask = mask
            self._loop.watch(self._end, mask, self._ready)
