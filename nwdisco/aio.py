"""The verbs for asyncio: the same names, arguments and results as in discovery.py, awaitable; `watch` is an async iterator.

Adverts belong to the process, so those made here and with the blocking verbs are the same ones. Cancelling a call leaves
nothing half done: a wait's connection is closed, an advert that was being made is withdrawn (by the time that the
cancellation arrives at whoever awaits the call).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Self

from . import config, errors, lease, requests
from .beacon import start
from .connection import ANSWER_LIMIT_S, GREETING, SEE_WHY, TRIES_S, Gone, refusal, stuck
from .core.names import check_name, check_wait
from .results import Event, Seen, Service

READ_LIMIT = 1 << 30
"""Bytes of one answer; the beacon is this user's own."""


class _Connection:
    """One connection to the beacon, for one request (or one watch)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to_beacon(cls) -> _Connection:
        end = start.connect_if_running()
        if end is None:
            end = await asyncio.to_thread(start.connect_or_start)
        try:
            return cls(*await asyncio.open_unix_connection(sock=end, limit=READ_LIMIT))
        except BaseException:
            end.close()
            raise

    async def send(self, request: dict[str, Any]) -> None:
        self._writer.write(GREETING + json.dumps(request).encode() + b"\n")
        try:
            await self._writer.drain()
        except OSError:
            raise Gone from None

    async def receive(self) -> dict[str, Any]:
        try:
            line = await self._reader.readline()
        except OSError:
            raise Gone from None
        if not line.endswith(b"\n"):
            raise Gone
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            raise refusal(message)
        return message

    def close(self) -> None:
        self._writer.close()


async def _call(request: dict[str, Any], wait_s: float | None = 0.0) -> dict[str, Any]:
    """A request and its answer, on the next beacon should one end meanwhile."""
    began_at = time.monotonic()
    while True:
        connection = await _Connection.to_beacon()
        waited_s = time.monotonic() - began_at
        if wait_s is not None and "wait_s" in request:
            request = {**request, "wait_s": max(0.0, wait_s - waited_s)}
        try:
            async with asyncio.timeout(None if wait_s is None else wait_s + ANSWER_LIMIT_S):
                await connection.send(request)
                return await connection.receive()
        except Gone:
            if wait_s is not None and waited_s > wait_s + TRIES_S:
                raise errors.BeaconError("one beacon after the other ended: " + SEE_WHY) from None
        except TimeoutError:
            raise stuck() from None
        finally:
            connection.close()


async def advertise(
    name: str,
    address: str | int | None = None,
    fail_if_exists: bool = False,
    ttl_s: float = config.TTL_S,
    properties: Mapping[str, str] | None = None,
) -> str:
    """See discovery.advertise."""
    # In a thread, since it may look up a host name; who cancels this need not wait for the answer.
    request = await asyncio.to_thread(requests.advertise, name, address, fail_if_exists, ttl_s, properties)
    making = asyncio.ensure_future(asyncio.to_thread(lease.advertise, request))
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        undoing = asyncio.ensure_future(_undo(making, name))
        _undoing.add(undoing)
        undoing.add_done_callback(_undoing.discard)
        await asyncio.shield(undoing)  # it goes on if this is cancelled once more
        raise


_undoing: set[asyncio.Future[None]] = set()
"""The event loop itself does not hold on to its tasks."""


async def _undo(making: asyncio.Future[str], name: str) -> None:
    """Withdraw an advert once it is made: the thread that makes it cannot be stopped."""
    with suppress(errors.NwdiscoError):
        await making
        await asyncio.to_thread(lease.unadvertise, name)


async def unadvertise(name: str) -> bool:
    """See discovery.unadvertise."""
    check_name(name)
    return await asyncio.shield(asyncio.to_thread(lease.unadvertise, name))


async def discover(name: str, wait_for_s: float | config.Forever = 60) -> str | None:
    """See discovery.discover."""
    wait_s = check_wait(wait_for_s)
    address: str | None = (await _call(requests.discover(name, wait_s), wait_s))["address"]
    return address


async def discover_all() -> list[Service]:
    """See discovery.discover_all."""
    return [Service.of(described) for described in (await _call(requests.discover_all()))["adverts"]]


async def discover_group(group: str, separator: str = "/", exclude: str | Iterable[str] | None = None) -> list[Service]:
    """See discovery.discover_group."""
    found = (await _call(requests.discover_group(group, separator, exclude)))["adverts"]
    return [Service.of(described) for described in found]


def watch(
    group: str | None = None, separator: str = "/", wait_for_s: float | config.Forever = config.FOREVER
) -> AsyncWatch:
    """See discovery.watch; iterate over it with `async for`."""
    return AsyncWatch(requests.watch(group, separator), check_wait(wait_for_s))


class AsyncWatch:
    """An async iterator over events, at work from its first turn on; `close` (or the end of its `async with`) ends it."""

    def __init__(self, request: dict[str, Any], wait_s: float | None) -> None:
        self._request = request
        self._wait_s = wait_s
        self._deadline: float | None = None
        self._seen = Seen()
        self._ready: deque[Event] = deque()
        self._closed = False
        self._connection: _Connection | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        try:
            while not self._closed:
                if self._ready:
                    return self._ready.popleft()
                if self._deadline is not None and time.monotonic() >= self._deadline:
                    break
                if self._connection is None:
                    await self._connect()
                else:
                    await self._hear(self._connection)
        except BaseException:
            self._end()
            raise
        self.close()
        raise StopAsyncIteration

    def close(self) -> None:
        """End it; an iteration under way in another task ends too."""
        self._closed = True
        self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(RuntimeError):  # the event loop has ended, and its connections with it
            self._end()

    async def _connect(self) -> None:
        """To the beacon that is there now; what is there already is ready then, even when no time is left to wait."""
        if self._wait_s is not None and self._deadline is None:
            self._deadline = time.monotonic() + self._wait_s
        self._connection = connection = await _Connection.to_beacon()
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                await connection.send(self._request)
                self._ready.extend(self._seen.events(await connection.receive()))
        except Gone:
            self._end()  # the next turn finds the next beacon
        except TimeoutError:
            raise stuck() from None

    async def _hear(self, connection: _Connection) -> None:
        left_s = None if self._deadline is None else self._deadline - time.monotonic()
        try:
            async with asyncio.timeout(left_s):
                self._ready.extend(self._seen.events(await connection.receive()))
        except Gone:
            self._end()  # the next turn finds the next beacon
        except TimeoutError:
            self._closed = True

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def __getattr__(name: str) -> object:
    """The messenger's verbs, which need ZeroMQ: taken in when one is first used (PEP 562)."""
    if name in (
        "send_message_to",
        "wait_for_message_from",
        "send_reply_to",
        "send_news_to",
        "wait_for_news_from",
    ):
        from . import aio_messenger

        value: object = getattr(aio_messenger, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
