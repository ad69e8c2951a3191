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
from contextlib import contextmanager, suppress
from math import ceil

import zmq

from . import config, strangers
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
MONITORED: dict[int, int] = {zmq.REQ: zmq.EVENT_DISCONNECTED, zmq.ROUTER: strangers.EVENTS}
"""What each kind of socket is watched for."""


class _UntilTheEnd:
    """Whoever uses a socket while the program ends is one of its daemon threads, and ends too, without a word."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    def __enter__(self) -> None:
        if self._socket.zmq.closed:
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
        self._monitor = self.zmq.get_monitor_socket(MONITORED[kind]) if kind in MONITORED else None
        """From before the first connection on: nothing that happens to it is missed."""
        try:
            for place in places:
                if kind in BINDS:
                    _bind(self.zmq, place)
                else:
                    self.zmq.connect(f"tcp://{place}")
        except BaseException:
            self._close()
            raise
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        self.fds: tuple[int, ...] = (self.zmq.FD, self._woken)
        self._strangers: Strangers | None = None
        if kind == zmq.ROUTER and self._monitor is not None:
            self._strangers = Strangers(self._monitor, self.zmq.getsockopt_string(zmq.LAST_ENDPOINT))
            self.fds += (self._monitor.FD,)
        self._ready = select.poll()
        for fd in self.fds:
            self._ready.register(fd, select.POLLIN)

    def send(self, frames: list[bytes]) -> None:
        with self.lock, _UntilTheEnd(self):
            for frame in frames[:-1]:
                self.zmq.send(frame, SNDMORE)
            self.zmq.send(frames[-1])
        if self._waiting:  # what has arrived may have been noticed by this use only: whoever waits looks again
            os.write(self._waker, b".")

    def take(self) -> list[bytes] | None:
        """What has arrived, if anything has."""
        with self.lock, _UntilTheEnd(self):
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
        elif fd != self.fds[0] and self._strangers is not None:
            with self.lock, _UntilTheEnd(self):
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
                    with _UntilTheEnd(self):
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

    def has_events(self) -> bool:
        """Whether something has happened to the connection of a REQ: it has broken, then."""
        return self._monitor is not None and bool(self._monitor.getsockopt(EVENTS) & POLLIN)  # type: ignore[operator]

    def close(self) -> None:
        with self.lock:
            if not self.zmq.closed:
                self._close()
                os.write(self._waker, b".")

    def _close(self) -> None:
        if self._monitor is not None:
            with suppress(zmq.ContextTerminated):
                self.zmq.disable_monitor()
            self._monitor.close()
        self.zmq.close()

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
