"""NetworkZero's door: its programs on this machine, at tcp://127.0.0.1:9998, take this beacon for theirs.

A ZeroMQ ROUTER socket, so that any number of programs can wait at the same time (their own beacon serves one after the
other). What requests mean is in core/networkzero_rpc.py. Only a beacon with this link takes pyzmq in.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

import zmq

from ... import addresses, config
from ...core.directory import Directory, Event
from ...core.networkzero_rpc import Rpc, Text
from ...errors import AddressError
from ..loop import Loop, Timer, log

READ_AT_ONCE = 32
"""Requests served before others get their turn again."""
LINGER_MS = 200
"""At the beacon's end: how long the last answers have to leave."""


class NetworkzeroDoor:
    def __init__(
        self,
        loop: Loop,
        directory: Directory,
        own_ip: Callable[[], str],
        when_settled: Callable[[Callable[[], None]], None],
        pause: Callable[[bool], None],
        forget: Callable[[], None],
        port: int = config.NETWORKZERO_RPC_PORT,
    ) -> None:
        """`pause` stops and resumes the telling of adverts; `forget` drops what was heard of others."""
        self._loop = loop
        self._port = port
        self._lookups = _Lookups(loop)
        self.rpc = Rpc(directory, loop.time, own_ip, self._complete, when_settled, pause, forget)
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._router: zmq.Socket[bytes] | None = None
        self._wake: Timer | None = None
        self._soon: Timer | None = None
        directory.on_event.append(self._on_event)

    @property
    def address(self) -> str | None:
        """Where it listens; None where it cannot."""
        return None if self._router is None else f"127.0.0.1:{self._port}"

    @property
    def in_use(self) -> bool:
        return bool(len(self.rpc) or self.rpc.waiting)

    def open(self) -> str | None:
        """Listen, unless it does already; why not, where it cannot."""
        if self._router is not None:
            return None
        if self._context is None:
            self._context = zmq.Context()
        router = self._context.socket(zmq.ROUTER)
        router.linger = LINGER_MS
        router.setsockopt(zmq.MAXMSGSIZE, config.MAX_NETWORKZERO_REQUEST)
        try:
            router.bind(f"tcp://127.0.0.1:{self._port}")
        except zmq.ZMQError as error:
            router.close()
            return f"TCP port {self._port}: {error.strerror}"
        self._router = router
        self._loop.add_reader(_descriptor(router), self._read)
        self._read()
        return None

    def close(self) -> None:
        self._lookups.close()
        if self._wake is not None:
            self._wake.cancel()
        if self._router is not None:
            self._loop.remove_reader(_descriptor(self._router))
            self._router.close()
            self._router = None
        if self._context is not None:
            self._context.term()

    # --- what happens ---

    def _on_event(self, event: Event) -> None:
        self.rpc.changed(event)
        if self.rpc.outbox:
            self._read_soon()  # which sends it: not from within a change of the directory

    def _read(self) -> None:
        """Serve what is there. The socket's descriptor tells only of news, so this goes on until there is nothing."""
        self._not_soon()
        router = self._router
        if router is None:
            return
        self._read_soon()  # unless it comes to the end of what is there
        for _ in range(READ_AT_ONCE):
            self._flush(router)  # before each look: sending, too, can use up the descriptor's news
            try:
                frames = router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                self._not_soon()
                break
            if len(frames) == 3 and not frames[1]:
                self.rpc.receive((frames[0], frames[1]), frames[2])
            else:
                self.rpc.malformed("a message that no REQ socket sends")
        while self.rpc.notes:
            log(self.rpc.notes.popleft())
        self._plan_wake()

    def _read_soon(self) -> None:
        if self._soon is None:
            self._soon = self._loop.call_soon(self._read)

    def _not_soon(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None

    def _flush(self, router: zmq.Socket[bytes]) -> None:
        while self.rpc.outbox:
            client, answer = self.rpc.outbox.popleft()
            try:
                router.send_multipart([*client, answer], zmq.NOBLOCK)
            except zmq.ZMQError:  # it takes no answers; to one that has gone, they go nowhere without an error
                self.rpc.counters["not_taken"] += 1

    def _woken(self) -> None:
        self._wake = None
        self.rpc.wake(self._loop.time())
        self._read()

    def _plan_wake(self) -> None:
        due = self.rpc.due
        if due is None or (self._wake is not None and self._wake.when() <= due):
            return
        if self._wake is not None:
            self._wake.cancel()
        self._wake = self._loop.call_at(due, self._woken)

    # --- addresses ---

    def _complete(self, address: Text, then: Callable[[str | None], None]) -> None:
        """As `advertise` of nwdisco does; where a host name has to be looked up, later."""

        def found(completed: str | None) -> None:
            then(completed)
            self._read_soon()

        if _has_host_name(address):
            self._lookups.begin(address, found)
        else:
            then(_completed(address))


def _descriptor(router: zmq.Socket[bytes]) -> int:
    fd = router.getsockopt(zmq.FD)
    assert isinstance(fd, int)
    return fd


def _has_host_name(address: Text) -> bool:
    host = str(address or "").strip().partition(":")[0]
    return host.lower() != "localhost" and not all(part.isdigit() or part == "*" for part in host.split(".") if part)


def _completed(address: Text) -> str | None:
    try:
        return addresses.complete(address)
    except AddressError:
        return None


class _Lookups:
    """Host names, each in a thread of its own: a name server may take its time, and the beacon has none."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._running = 0
        self._done: deque[tuple[Callable[[str | None], None], str | None]] = deque()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        loop.add_reader(self._woken, self._finish)

    def begin(self, address: Text, then: Callable[[str | None], None]) -> None:
        if self._running >= config.MAX_NETWORKZERO_LOOKUPS:
            then(None)
            return
        self._running += 1
        Thread(target=self._look_up, args=(address, then), daemon=True).start()

    def close(self) -> None:
        self._loop.remove_reader(self._woken)
        self._woken.close()  # the other end is for threads that still run, and goes with the process

    def _look_up(self, address: Text, then: Callable[[str | None], None]) -> None:
        self._done.append((then, _completed(address)))
        with suppress(OSError):  # the door has closed meanwhile
            self._waker.send(b"1")

    def _finish(self) -> None:
        self._woken.recv(64)
        while self._done:
            self._running -= 1
            then, completed = self._done.popleft()
            then(completed)
