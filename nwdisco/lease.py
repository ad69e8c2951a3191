"""This process's adverts: one connection to the beacon that they stand on, and a thread that puts them back.

As long as the connection is open they stand. Should the beacon end (even by kill -9), the thread sees it at once, starts
another one and advertises all again with their age, so that no other machine notices.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from contextlib import suppress

from . import errors
from .connection import SEE_WHY, TRIES_S, Connection, Gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PUT_BACK_EVERY_S = 1.0
"""When no beacon can be started: how long until the next try."""
LAST_WORD_S = 1.0
"""How long the end of a program waits for its adverts to be withdrawn."""


class _Lease:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.adverts: dict[str, tuple[float, dict[str, Any]]] = {}
        """By name: when it was made (monotonic) and the request that made it."""
        self.connection: Connection | None = None
        self.guarded = False
        """The thread is there."""
        self.guard: Connection | None = None
        """What it sits on."""

    def advertise(self, request: dict[str, Any]) -> str:
        """Make an advert that stands as long as this process; its full address."""
        with self.lock:
            made_at = time.monotonic()
            address: str = self._ask(request)["address"]
            self.adverts[request["name"]] = (made_at, {**request, "fail_if_exists": False})
            if not self.guarded:
                self.guarded = True
                threading.Thread(target=self._guard, name="nwdisco-lease", daemon=True).start()
            return address

    def unadvertise(self, name: str) -> bool:
        with self.lock:
            if self.adverts.pop(name, None) is None:
                return False
            self._ask({"do": "unadvertise", "name": name})
            return True

    def withdraw(self) -> None:
        """At the end of the program: all adverts are gone before it is."""
        if not self.lock.acquire(timeout=LAST_WORD_S):
            return  # another thread is at it; then the end of the connection withdraws them
        try:
            connection, self.connection = self.connection, None
            if connection is None or not self.adverts:
                return
            self.adverts.clear()
            with suppress(Gone, TimeoutError, errors.BeaconError):  # likewise
                connection.send({"do": "unadvertise"})
                connection.receive(LAST_WORD_S)
            connection.close()
        finally:
            self.lock.release()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """A request on the lease's connection, with all adverts put back first if it is a new one."""
        deadline = time.monotonic() + TRIES_S
        while True:
            if self.connection is None:
                self.put_back()
            assert self.connection is not None
            try:
                return self.connection.ask(request)
            except Gone:
                self._drop()
                if time.monotonic() > deadline:
                    raise errors.BeaconError("one beacon after the other ended: " + SEE_WHY) from None
            except BaseException as error:
                if isinstance(error, errors.NwdiscoError) and not isinstance(error, errors.BeaconStuckError):
                    raise  # refused: what stands, stands
                self._drop()  # Ctrl-C, say: the answer may still come, so a new connection takes over,
                if self.guard is not None:
                    self.guard.cut()  # and the thread puts back what stood on this one
                raise

    def _drop(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def put_back(self) -> None:
        """Connect anew, and advertise again what stood on the last connection. Raises BeaconError."""
        deadline = time.monotonic() + TRIES_S
        while True:
            connection = Connection.to_beacon()
            try:
                now = time.monotonic()
                for made_at, request in self.adverts.values():
                    connection.ask({**request, "age_s": now - made_at})
            except Gone:
                connection.close()
                if time.monotonic() > deadline:
                    raise errors.BeaconError("one beacon after the other ended: " + SEE_WHY) from None
            except BaseException:
                connection.close()
                raise
            else:
                self.connection = connection
                return

    def _guard(self) -> None:
        """In a thread: sit on a second connection, on which nothing comes, until the beacon ends; then put all back."""
        while True:
            with self.lock:
                if not self.adverts:
                    self.guarded = False
                    return
            guard = None
            try:
                guard = self.guard = Connection.to_beacon()
                with self.lock:
                    if self.adverts:
                        self._ask({"do": "unadvertise", "name": ""})  # puts all back if this beacon is a new one
            except errors.BeaconError as error:
                if guard is not None:
                    guard.close()
                import logging

                logging.getLogger("nwdisco").warning("adverts cannot be put back yet: %s", error)
                time.sleep(PUT_BACK_EVERY_S)
                continue
            try:
                guard.receive(None)
            except Gone:
                guard.close()


_lease = _Lease()


def advertise(request: dict[str, Any]) -> str:
    return _lease.advertise(request)


def unadvertise(name: str) -> bool:
    return _lease.unadvertise(name)


def addresses() -> dict[str, str]:
    """This process's adverts: name to "ip:port", or ":port" where the IP was picked."""
    with _lease.lock:
        return {name: request["address"] for name, (_, request) in _lease.adverts.items()}


def _at_exit() -> None:
    _lease.withdraw()


def _after_fork() -> None:
    """The child has no adverts; its parent's stay the parent's (connection.py has closed the copies)."""
    global _lease
    _lease = _Lease()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
