"""A program's connections to its beacon, for blocking calls: safe with threads, and nothing of them outlives a fork.

Each call takes a connection of its own for as long as it lasts, and gives it back. When the beacon has gone, a call starts
another one and goes on there.
"""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress

from . import config, errors
from .beacon import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GREETING = f"nwdisco-control {config.CONTROL_VERSION}\n".encode()
ANSWER_LIMIT_S = 15.0
"""A beacon that has not answered so long after it should have is taken for stuck."""
SMALL_READ, LARGE_READ = 4096, 1 << 18
"""Most answers are small, and room for a large one costs more than the answer; long lists come in large parts."""
TRIES_S = 10.0
"""How long a call goes on with new beacons when one after the other ends under it."""
SEE_WHY = "see beacon.log beside the beacon's socket, or run  nwdisco beacon"


class Gone(Exception):
    """The connection closed: the beacon ended."""


class Connection:
    """One connection. Not shared: one caller at a time."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._unread = b""
        self._greeting = GREETING
        _open.add(self)

    @classmethod
    def to_beacon(cls) -> Connection:
        """To the user's beacon, started if need be. Raises BeaconError."""
        return cls(start.connect_or_start())

    def send(self, request: dict[str, Any]) -> None:
        """Hand over a request; Gone when nobody is there."""
        data = self._greeting + json.dumps(request).encode() + b"\n"
        self._greeting = b""
        try:
            self._end.settimeout(ANSWER_LIMIT_S)
            self._end.sendall(data)
        except TimeoutError:
            raise stuck() from None
        except OSError:
            raise Gone from None

    def receive(self, limit_s: float | None) -> dict[str, Any]:
        """The next message; Gone at the end of the connection, TimeoutError after so many seconds."""
        deadline = None if limit_s is None else time.monotonic() + limit_s
        parts = [self._unread]
        size = SMALL_READ
        left_s = limit_s
        while b"\n" not in parts[-1]:
            if left_s is not None and left_s <= 0:
                self._unread = b"".join(parts)
                raise TimeoutError
            try:
                self._end.settimeout(left_s)
                part = self._end.recv(size)
            except TimeoutError:
                pass  # the time is up: see above
            except OSError:
                raise Gone from None
            else:
                if not part:
                    raise Gone
                parts.append(part)
                size = LARGE_READ
            left_s = None if deadline is None else deadline - time.monotonic()
        line, _, self._unread = b"".join(parts).partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def ask(self, request: dict[str, Any], wait_s: float | None = 0.0) -> dict[str, Any]:
        """A request and its answer, which may take `wait_s` (None: for ever). Raises Gone, and what the beacon refused."""
        self.send(request)
        try:
            answer = self.receive(None if wait_s is None else wait_s + ANSWER_LIMIT_S)
        except TimeoutError:
            raise stuck() from None
        if "error" in answer:
            raise refusal(answer, request.get("name", ""))
        return answer

    def cut(self) -> None:
        """End it from another thread: a receive under way raises Gone."""
        with suppress(OSError):  # it may have ended by itself
            self._end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        _open.discard(self)
        self._end.close()


def stuck() -> errors.BeaconStuckError:
    return errors.BeaconStuckError(
        f"the beacon has not answered for {ANSWER_LIMIT_S:g} s: run  nwdisco stop  and try again"
    )


def refusal(answer: dict[str, Any], name: str = "") -> errors.NwdiscoError:
    """The exception for a beacon's refusal; `name` is what the request was about."""
    code, message = answer["error"], answer["message"]
    if code == "bad_advert":
        return errors.AdvertError(message)
    if code == "name_taken":
        return errors.NameTakenError(name, answer["address"])
    if code == "version":
        return errors.BeaconVersionError(message)
    return errors.BeaconError(message)


_open: set[Connection] = set()
"""All that this process holds."""
_idle: list[Connection] = []
"""Ready for the next call."""


def call(request: dict[str, Any], wait_s: float | None = 0.0) -> dict[str, Any]:
    """One request on whatever connection is free. With `wait_s` (None: for ever) the request's own wait is cut to what is
    left when the beacon ends meanwhile and another one takes over."""
    began_at = time.monotonic()
    while True:
        try:
            connection = _idle.pop()
        except IndexError:
            connection = Connection.to_beacon()
        try:
            answer = connection.ask(request, wait_s)
        except Gone:
            connection.close()
            waited_s = time.monotonic() - began_at
            if wait_s is not None:
                if waited_s > wait_s + TRIES_S:
                    raise errors.BeaconError("one beacon after the other ended: " + SEE_WHY) from None
                if "wait_s" in request:
                    request = {**request, "wait_s": max(0.0, wait_s - waited_s)}
            continue
        except errors.NwdiscoError:
            connection.close()
            raise
        except BaseException:  # Ctrl-C in the middle: what comes on this connection is nobody's answer
            connection.close()
            raise
        _idle.append(connection)
        return answer


def _after_fork() -> None:
    """The child has copies of its parent's connections: close them, for they would keep the parent's adverts alive."""
    for connection in tuple(_open):
        connection.close()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
