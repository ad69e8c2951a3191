"""Following a key of a registry in etcd: what etcd's Follower hears, as changes in order, through every gap.

What is there is kept as a mirror. After a gap only what differs from it is told: what is back with the same value was never gone.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable

from ..etcd.client import Client, Entry
from ..etcd.follower import Follower
from .etcd_keys import Keys
from .registry import Change, Following

logger = logging.getLogger("nwdisco")


class EtcdFollowing(Following):
    """On the loop it listens, and a thread of its own calls back: a callback may call the registry, or take its time."""

    def __init__(
        self, keys: Keys, key: str, on_change: Callable[[Change], None], forget: Callable[[EtcdFollowing], None]
    ) -> None:
        self._keys = keys
        self._key = key
        self._on_change = on_change
        self._forget = forget
        self._mirror: dict[str, str] = {}
        self._changes: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._listening: asyncio.Task[None] | None = None

    # --- on the loop ---

    async def listen(self, client: Client) -> None:
        """Returns when what is there is known. Raises what prevents it."""
        follower = Follower(client, self._keys.raw(self._key), self._listed, self._changed)
        await follower.begin()
        self._listening = asyncio.ensure_future(follower.run())

    def listen_no_more(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None

    def _listed(self, entries: list[Entry]) -> None:
        there = self._keys.texts(entries, self._key)
        for (
            key,
            value,
        ) in there.items():  # before what is gone, as who changes several puts first: then nobody looks gone who is not
            if self._mirror.get(key) != value:
                self._is(key, value)
        for key in [key for key in self._mirror if key not in there]:
            self._is(key, None)

    def _changed(self, changes: list[tuple[Entry, bool]]) -> None:
        for entry, is_there in changes:
            read = self._keys.read(entry, self._key)
            if read is not None:
                key, value = read
                self._is(key, value if is_there else None)

    def _is(self, key: str, value: str | None) -> None:
        if value is not None:
            self._mirror[key] = value
            self._changes.put(Change("put", key, value))
        elif self._mirror.pop(key, None) is not None:
            self._changes.put(Change("delete", key, None))

    # --- elsewhere ---

    def start(self) -> None:
        """Call back with what is there, and from now on, in a thread, with every change."""
        for _ in range(self._changes.qsize()):
            change = self._changes.get()
            if change is None:
                return  # closed by a callback
            self._call(change)
        threading.Thread(target=self._run, name=f"nwdisco: follows {self._key or 'all'}", daemon=True).start()

    def close(self) -> None:
        self.end()
        self._forget(self)

    def end(self) -> None:
        """Call back no more."""
        self.is_closed = True
        self._changes.put(None)
        if self.on_closed is not None:
            self.on_closed()

    def _run(self) -> None:
        while (change := self._changes.get()) is not None:
            self._call(change)

    def _call(self, change: Change) -> None:
        if self.is_closed:
            return
        try:
            self._on_change(change)
        except Exception:
            logger.exception("what follows %r in a registry raised at the %s of %r", self._key, change.kind, change.key)
