"""The etcd link: this machine's adverts stand in etcd, those of all others there are in this directory.

What is exported and taken is core/etcd.py's; etcd's client needs asyncio and gRPC, which run in a thread of their own: changes of
this node go there, what happens in etcd comes back, each to be handled where it belongs.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from importlib.util import find_spec
from random import SystemRandom
from threading import Thread
from typing import TYPE_CHECKING

from ... import config
from ...core import etcd
from ...core.advert import Advert
from ...core.directory import Directory
from ...core.etcd import Exports, Imports
from ...errors import BeaconError, RegistryError
from ...etcd.settings import EtcdSettings
from ..loop import Loop, Timer, log

if TYPE_CHECKING:
    from ...etcd.client import Client, Entry
    from ...etcd.follower import Follower
    from ...etcd.shelf import Shelf

AT_ONCE = 200
"""Things that happened in etcd, handled before programs get their turn again."""
CALL_S = 2.0
"""How long etcd has to answer."""
ANEW_S = 1.0
STOP_S = 1.0
"""At the beacon's end: how long the lease has to end."""
REFUSED_EVERY_S = 60.0
"""How often a line in the log says that something in etcd was left out."""


class EtcdLink:
    def __init__(
        self, loop: Loop, directory: Directory, settings: EtcdSettings, plain: tuple[str, ...], room: str
    ) -> None:
        if find_spec("aetcd") is None:
            raise BeaconError("the etcd link needs aetcd: pip install 'nwdisco[etcd]'")
        self._loop = loop
        self._settings = settings
        self.counters: Counter[str] = Counter()
        prefix = etcd.prefix_of(room)
        self.imports = Imports(directory, self.counters, prefix)
        self._prefixes = tuple(dict.fromkeys((prefix, *(f"{service}/".encode() for service in plain))))
        self._happened: deque[Callable[[], None]] = deque()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._answered_at: float | None = None
        self._listed: set[bytes] = set()
        self._is_settled = False
        self._on_settled: list[Callable[[], None]] = []
        self._expiries: list[Timer] = []
        self._said_refused, self._said_refused_at = 0, float("-inf")
        self._far_end = _FarEnd(settings, Exports(directory.node, plain, prefix), self._prefixes, self)
        directory.on_own.append(lambda name, advert: self._far_end.tell(name, advert, loop.time()))

    def start(self) -> None:
        self._loop.add_reader(self._woken, self._handle)
        self._loop.call_later(config.ETCD_LISTED_S, self._settle)
        self._far_end.start()

    def stop(self) -> None:
        """End the lease, and with it what this machine has in etcd."""
        self._far_end.stop()
        for timer in self._expiries:
            timer.cancel()
        self._loop.remove_reader(self._woken)
        self._woken.close()
        self._waker.close()

    def when_listed(self, action: Callable[[], None]) -> None:
        """Call once what is in etcd is known; at once if it is, and after ETCD_LISTED_S in any case."""
        if self._is_settled:
            action()
        else:
            self._on_settled.append(action)

    def moved(self) -> None:
        """This machine's addresses have changed."""
        self._far_end.moved()

    def status(self) -> dict[str, object]:
        answered_at = self._answered_at
        return {
            "endpoints": str(self._settings),
            "answered_s_ago": None if answered_at is None else round(self._loop.time() - answered_at, 3),
            "why_not": self._far_end.why_not,
            "lease": self._far_end.exports.lease,
            "imported": len(self.imports),
            "exported": len(self._far_end.exports),
            "dropped": dict(self.counters),
        }

    # --- what happens there; called in its thread ---

    def happened(self, action: Callable[[], None]) -> None:
        self._happened.append(action)
        with suppress(BlockingIOError, OSError):  # it is awake already; or the beacon has ended
            self._waker.send(b"1")

    # --- here ---

    def _handle(self) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(4096)
        for _ in range(AT_ONCE):
            if not self._happened:
                break
            self._happened.popleft()()
        if self._happened:
            self._loop.call_soon(self._handle)
        refused, now = self.counters["refused"], self._loop.time()
        if refused > self._said_refused and now - self._said_refused_at > REFUSED_EVERY_S:
            self._said_refused, self._said_refused_at = refused, now
            log(f"etcd: {refused} values so far are none of ours, or broken, and were left out")

    def listing(self, prefix: bytes, entries: list[Entry]) -> None:
        now = self._loop.time()
        self.answered(now)
        self.imports.listing(prefix, [(e.key, e.value, e.lease) for e in entries], now)
        self._listed.add(prefix)
        if len(self._listed) == len(self._prefixes):
            self._settle()

    def changes(self, changes: list[tuple[Entry, bool]]) -> None:
        for entry, is_there in changes:
            if is_there:
                self.imports.stands(entry.key, entry.value, entry.lease, self._loop.time())
            else:
                self.imports.gone(entry.key)

    def answered(self, at: float) -> None:
        """etcd answered: what it has is true, and may be for as long as its leases last."""
        self._answered_at = at
        for timer in self._expiries:
            timer.cancel()
        self._expiries = [
            self._loop.call_at(at + life_s, self._expire, is_plain)
            for life_s, is_plain in ((config.ETCD_LEASE_S, False), (config.ETCD_PLAIN_LEASE_S, True))
        ]

    def _expire(self, is_plain: bool) -> None:
        self.imports.clear(is_plain)
        self._far_end.list_again()  # it may be this beacon that stood still, with a watch that lost nothing

    def _settle(self) -> None:
        self._is_settled = True
        actions, self._on_settled = self._on_settled, []
        for action in actions:
            action()


class _FarEnd:
    """etcd's side: a thread with an asyncio loop. What others call is safe from the beacon's thread."""

    def __init__(self, settings: EtcdSettings, exports: Exports, prefixes: tuple[bytes, ...], link: EtcdLink) -> None:
        self._settings = settings
        self._prefixes = prefixes
        self._link = link
        self.exports = exports
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run, name="nwdisco-etcd", daemon=True)
        self._stopped = asyncio.Event()
        self._client: Client | None = None
        self._shelf: Shelf | None = None
        self._followers: list[Follower] = []

    @property
    def why_not(self) -> str | None:
        """What is wrong, if something is."""
        return None if self._shelf is None else self._shelf.trouble.why_not

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(2 * STOP_S)

    def tell(self, name: str, advert: Advert | None, now: float) -> None:
        self._loop.call_soon_threadsafe(self._tell, name, advert, now)

    def moved(self) -> None:
        self._loop.call_soon_threadsafe(self._moved)

    def list_again(self) -> None:
        """What was told of the prefixes is forgotten."""
        self._loop.call_soon_threadsafe(self._list_again)

    # --- in the thread ---

    def _run(self) -> None:
        logging.getLogger("nwdisco").addHandler(_ToLog())
        asyncio.set_event_loop(self._loop)
        while not self._stopped.is_set():
            try:
                self._loop.run_until_complete(self._serve())
            except Exception:  # a fault of ours: the log has it, and the rest of the beacon is not to suffer
                log("etcd: begins anew after\n" + traceback.format_exc())
                time.sleep(ANEW_S)

    async def _serve(self) -> None:
        from ...etcd.client import Client  # gRPC, which takes a while to import
        from ...etcd.follower import Follower
        from ...etcd.shelf import Shelf

        random, link = SystemRandom(), self._link
        client = self._client = Client(self._settings, CALL_S)
        shelf = self._shelf = Shelf(
            client, config.ETCD_LEASE_S, self._leased, lambda: etcd.lease_id(random.getrandbits(32))
        )
        shelf.on_answer.append(lambda at: link.happened(lambda: link.answered(at)))
        shelf.on_back.append(self._list_again)
        work: list[Coroutine[None, None, object]] = [shelf.run(), self._stopped.wait()]
        self._followers.clear()
        for prefix in self._prefixes:
            follower = Follower(
                client,
                prefix,
                lambda entries, prefix=prefix: link.happened(lambda: link.listing(prefix, entries)),  # type: ignore[misc]
                lambda changes: link.happened(lambda: link.changes(changes)),
            )
            self._followers.append(follower)
            work.append(follower.run())
        running = [asyncio.ensure_future(each) for each in work]
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)
            await self._leave(client, shelf)

    async def _leave(self, client: Client, shelf: Shelf) -> None:
        try:
            async with asyncio.timeout(STOP_S):
                await shelf.end()
        except (RegistryError, TimeoutError):
            log("etcd does not answer: what this machine has there ends with its lease")
        await client.close()

    def _leased(self, lease: int) -> None:
        assert self._client is not None
        self.exports.lease, self.exports.ip = lease, self._client.connection.local_ip()
        self._set_everything()

    def _list_again(self) -> None:
        for follower in self._followers:
            follower.again()

    def _set_everything(self) -> None:
        assert self._shelf is not None
        for key, value in self.exports.everything(time.monotonic()):
            self._shelf.set(key, value)

    def _tell(self, name: str, advert: Advert | None, now: float) -> None:
        for key, value in self.exports.own_change(name, advert, now):
            if self._shelf is not None:
                self._shelf.set(key, value)

    def _moved(self) -> None:
        if self._client is None or not self.exports.lease:
            return
        ip = self._client.connection.local_ip()
        if ip != self.exports.ip:
            self.exports.ip = ip
            self._set_everything()


class _ToLog(logging.Handler):
    """What etcd's client has to say, in the beacon's log."""

    def emit(self, record: logging.LogRecord) -> None:
        log(record.getMessage())
