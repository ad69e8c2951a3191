"""ZeroMQ sockets for the blocking messenger: any thread may use them, Ctrl-C ends a wait at once.

A ZeroMQ socket is for one thread at a time. So each has a lock, held for a moment only: who waits for something to arrive
waits on the operating system's level, where others can send meanwhile.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil

import zmq

from . import config
from .errors import InvalidAddressError, ServiceGoneError, SocketAlreadyExistsError, SocketInterruptedError
from .strangers import Strangers

LONGEST_SLICE_S = 3600.0
LAST_REPLY_S = 0.2
"""A service that has gone may have replied as its last act, and the reply be still on its way."""
NOBLOCK, SNDMORE, RCVMORE, EVENTS, POLLIN = (
    int(flag) for flag in (zmq.NOBLOCK, zmq.SNDMORE, zmq.RCVMORE, zmq.EVENTS, zmq.POLLIN)
)
"""As plain numbers: pyzmq's enums cost a microsecond each time."""
BINDS = (zmq.ROUTER, zmq.PUB)


class _UntilTheEnd:
    """Whoever uses a socket while the program ends is one of its daemon threads, and ends too, without a word."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket

    def __enter__(self) -> None:
        if self._socket.closed:
            raise SystemExit

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, zmq.ContextTerminated):
            self._socket.close()
            raise SystemExit from None


class Socket:
    """One ZeroMQ socket, bound or connected. `kind` is zmq.ROUTER, zmq.PUB, zmq.REQ or zmq.SUB."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], kind: int, *places: str) -> None:
        """`places` are "ip:port", for ROUTER and PUB with "*" for all of this machine's addresses."""
        self.lock = threading.RLock()
        self._waiting = False
        self._limit_ms = -1
        """ZeroMQ's own limit of a wait, as it was set last."""
        self.zmq = context.socket(kind)
        self.zmq.linger = int(config.LAST_WORDS_S * 1000)
        self.zmq.maxmsgsize = config.MAX_MESSAGE_BYTES
        self.zmq.hwm = config.NEWS_QUEUE if kind in (zmq.PUB, zmq.SUB) else 1000
        self.zmq.reconnect_ivl = int(config.NEWS_RETRY_S * 1000)
        try:
            for place in places:
                if kind in BINDS:
                    _bind(self.zmq, place)
                else:
                    self.zmq.connect(f"tcp://{place}")
        except BaseException:
            self.zmq.close()
            raise
        self._until_the_end = _UntilTheEnd(self.zmq)
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        self._strangers = Strangers(self.zmq) if kind == zmq.ROUTER else None
        watched = () if self._strangers is None else (self._strangers.monitor.FD,)
        self.fds: tuple[int, ...] = (self.zmq.FD, self._woken, *watched)
        self._ready = select.poll()
        for fd in self.fds:
            self._ready.register(fd, select.POLLIN)

    def send(self, frames: list[bytes]) -> None:
        with self.lock, self._until_the_end:
            for frame in frames[:-1]:
                self.zmq.send(frame, SNDMORE)
            self.zmq.send(frames[-1])
        if self._waiting:  # what has arrived may have been noticed by this use only: whoever waits looks again
            os.write(self._waker, b".")

    def take(self) -> list[bytes] | None:
        """What has arrived, if anything has."""
        with self.lock, self._until_the_end:
            if not self.zmq.getsockopt(EVENTS) & POLLIN:  # type: ignore[operator]
                return None
            frames = [self.zmq.recv(NOBLOCK)]
            while self.zmq.getsockopt(RCVMORE):
                frames.append(self.zmq.recv(NOBLOCK))
            return frames

    @contextmanager
    def waited_on(self) -> Iterator[tuple[int, ...]]:
        """One caller at a time (see `take_turn`). File descriptors: when one can be read, `look_again`, then `take`."""
        self._waiting = True
        try:
            yield self.fds
        finally:
            self._waiting = False

    def look_again(self, fd: int) -> None:
        if fd == self._woken:
            os.read(fd, 4096)
        elif fd != self.fds[0] and self._strangers is not None and not self.zmq.closed:
            self._strangers.look()

    def receive(self, deadline: float | None) -> list[bytes] | None:
        """What arrives; None at the deadline (on time.monotonic(); None: never). One caller at a time."""
        began_at = time.monotonic()
        try:
            with self.waited_on():
                while (frames := self.take()) is None:
                    left_s = LONGEST_SLICE_S if deadline is None else deadline - time.monotonic()
                    if left_s <= 0:
                        break
                    for fd, _ in self._ready.poll(min(left_s, LONGEST_SLICE_S) * 1000):
                        self.look_again(fd)
                return frames
        except KeyboardInterrupt:
            raise SocketInterruptedError(time.monotonic() - began_at) from None

    def receive_alone(self, deadline: float | None, look: Callable[[], float]) -> bytes | None:
        """As `receive`, for a socket of which nobody else makes use, and messages of one frame: waits inside ZeroMQ, which
        is faster. `look` says in how many seconds it wants to be called again, or raises ServiceGoneError."""
        began_at = time.monotonic()
        gone: ServiceGoneError | None = None
        try:
            while True:
                left_s = LONGEST_SLICE_S if deadline is None else max(0.0, deadline - time.monotonic())
                if gone is None:
                    try:
                        left_s = min(left_s, look())
                    except ServiceGoneError as error:
                        gone, deadline = error, time.monotonic() + LAST_REPLY_S
                        continue
                limit_ms = ceil(left_s * 1000)
                if limit_ms != self._limit_ms:
                    self.zmq.rcvtimeo = self._limit_ms = limit_ms
                try:
                    with self._until_the_end:
                        reply = self.zmq.recv()
                        while self.zmq.getsockopt(RCVMORE):  # more than a message has, and of no use
                            self.zmq.recv()
                        return reply
                except zmq.Again:
                    if deadline is not None and time.monotonic() >= deadline:
                        if gone is not None:
                            raise gone from None
                        return None
        except KeyboardInterrupt:
            raise SocketInterruptedError(time.monotonic() - began_at) from None

    def close(self) -> None:
        with self.lock:
            if not self.zmq.closed:
                if self._strangers is not None:
                    self.zmq.disable_monitor()
                self.zmq.close()
                os.write(self._waker, b".")

    def __del__(self) -> None:
        for fd in (getattr(self, "_woken", None), getattr(self, "_waker", None)):
            if fd is not None:
                os.close(fd)


def take_turn(lock: threading.Lock, deadline: float | None) -> bool:
    """Where one caller at a time may be and the rest wait: True when it is one's turn, which `lock.release` ends."""
    if lock.acquire(blocking=False):
        return True
    began_at = time.monotonic()
    try:
        return lock.acquire(timeout=-1 if deadline is None else max(0.0, deadline - began_at))
    except KeyboardInterrupt:
        raise SocketInterruptedError(time.monotonic() - began_at) from None


def _bind(socket: zmq.Socket[bytes], place: str) -> None:
    try:
        socket.bind(f"tcp://{place}")
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise SocketAlreadyExistsError(
                f"{place} is in use, by another program, or by this one in another way (messages and news need an address each)"
            ) from None
        raise InvalidAddressError(
            f"{place} is no address of this machine ({error.strerror}): wait and publish at what advertise gave"
        ) from None
