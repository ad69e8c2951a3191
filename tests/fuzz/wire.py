"""A loop and streams in memory, on a clock that the test moves: the doors run on them as they run on the beacon's own."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import cast

from nwdisco.beacon.loop import Loop, Stream, StreamProtocol, Timer

MOST_TURNS = 20_000
"""In one run: more is a door that keeps the beacon busy for ever."""


class Clock:
    """What a door uses of the beacon's loop."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.turns = 0
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()

    @property
    def loop(self) -> Loop:
        return cast(Loop, self)

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, action: Callable[..., None], *args: object) -> Timer:
        timer = Timer(when, lambda: action(*args))
        heappush(self._timers, (when, next(self._order), timer))
        return timer

    def call_soon(self, action: Callable[..., None], *args: object) -> Timer:
        return self.call_at(self.now, action, *args)

    def call_later(self, delay_s: float, action: Callable[..., None], *args: object) -> Timer:
        return self.call_at(self.now + delay_s, action, *args)

    def run(self, for_s: float = 0.0) -> None:
        """All that is due within these seconds."""
        end, begun = self.now + for_s, self.turns
        while self._timers and self._timers[0][0] <= end:
            self.now = max(self.now, self._timers[0][0])
            self.turns += 1
            heappop(self._timers)[2].run()
            assert self.turns - begun < MOST_TURNS, f"it is busy for ever at {self.now}"
        self.now = end


class Pipe:
    """What a door uses of a connection's stream, whose other end is the test: it takes every answer at once."""

    def __init__(self, clock: Clock, protocol: StreamProtocol, read_at_once: int) -> None:
        self.answers = bytearray()
        self.sent_late = 0
        self._clock = clock
        self._protocol = protocol
        self._read_at_once = read_at_once
        self._unread = b""
        self._reading = True
        self._other_end_says_end = False
        self._says_end = False
        self._closing = False
        protocol.connection_made(cast(Stream, self))

    # --- the other end ---

    def send(self, data: bytes) -> None:
        self._unread += data
        self._deliver()

    def end(self) -> None:
        """The other end sends no more."""
        self._other_end_says_end = True
        self._deliver()

    @property
    def waits(self) -> bool:
        """The door leaves unread what is sent."""
        return not (self._reading or self._closing)

    def _deliver(self) -> None:
        while self._reading and not self._closing and self._unread:
            data, self._unread = self._unread[: self._read_at_once], self._unread[self._read_at_once :]
            self._protocol.data_received(data)
        if self._other_end_says_end and self._reading and not self._closing:
            self._protocol.eof_received()
            self.close()

    # --- the door's ---

    def write(self, data: bytes) -> None:
        if not (self._closing or self._says_end):
            self.answers += data

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._clock.call_soon(self._deliver)

    def write_eof(self) -> None:
        self._says_end = True

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self._closing:
            self._closing = True
            self._clock.call_soon(self._protocol.connection_lost)
