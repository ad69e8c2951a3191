"""MemoryRegistry: a registry in this process's memory, for tests and for programs that are one process.

All that is asked of it happens under one lock, and no callback is called under it: each `follow` has a queue and a thread of
its own. So a callback may call the registry, end what it follows, or take its time: only its own news wait meanwhile.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf

from ..errors import RegistryError
from .registry import Change, Following, Lease, Registry, check_key, check_on_change, check_ttl, check_values

FEW_KEYS = 500
"""From so many on, taking keys out of the sorted list one by one costs more than making it anew (measured with 100,000)."""

logger = logging.getLogger("nwdisco")


class MemoryLease(Lease):
    def __init__(self, registry: MemoryRegistry, ttl_s: float, keep_alive: bool) -> None:
        self.id = secrets.token_hex(8)
        self.ttl_s = ttl_s
        self.keys: set[str] = set()
        """What stands under it."""
        self.ends_at = inf
        self._registry = registry
        self._keep_alive = keep_alive
        self.start_anew()

    def start_anew(self) -> None:
        if not self._keep_alive:
            self.ends_at = time.monotonic() + self.ttl_s

    def renew(self) -> bool:
        return self._registry._renew(self)

    def end(self) -> None:
        self._registry._end_now(self)


@dataclass(frozen=True, slots=True)
class Entry:
    value: str
    created: int
    """The number of the put that created it. What was put at once has the same."""
    lease: MemoryLease | None


class Tree:
    """Entries by key, and the keys in order: a subtree costs its own size, however many keys there are. No lock, no clock."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._keys: list[str] = []
        """In plain text order, in which what is beneath a key stands together: from `key/` on, and before `key0`."""

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def subtree(self, key: str) -> dict[str, Entry]:
        """An entry and all beneath it, in the order of the keys."""
        if key == "":
            return {here: self._entries[here] for here in self._keys}
        first = bisect_left(self._keys, key + "/")
        last = bisect_left(self._keys, key + chr(ord("/") + 1), first)
        here = [key] if key in self._entries else []
        return {here: self._entries[here] for here in here + self._keys[first:last]}

    def put(self, key: str, value: str, lease: MemoryLease | None, number: int) -> None:
        """Under this lease and no other. What is there already keeps its place in the order of creation."""
        before = self._entries.get(key)
        if before is None:
            insort(self._keys, key)
        else:
            number = before.created
            if before.lease is not None:
                before.lease.keys.discard(key)
        self._entries[key] = Entry(value, number, lease)
        if lease is not None:
            lease.keys.add(key)

    def remove(self, keys: Collection[str]) -> None:
        """All of these must be there."""
        for key in keys:
            lease = self._entries.pop(key).lease
            if lease is not None:
                lease.keys.discard(key)
        if len(keys) < FEW_KEYS:
            for key in keys:
                del self._keys[bisect_left(self._keys, key)]
        else:
            self._keys = [key for key in self._keys if key in self._entries]


class MemoryFollowing(Following):
    def __init__(self, registry: MemoryRegistry, key: str, on_change: Callable[[Change], None]) -> None:
        self._registry = registry
        self._key = key
        self._on_change = on_change
        self._changes: queue.SimpleQueue[Change | None] = queue.SimpleQueue()

    def start(self) -> None:
        """From now on, a thread calls back with what `tell` was told."""
        threading.Thread(target=self._run, name=f"nwdisco: follows {self._key or 'all'}", daemon=True).start()

    def tell(self, change: Change) -> None:
        """Have it called, later, if it is for this one."""
        if self._key in ("", change.key) or change.key.startswith(self._key + "/"):
            self._changes.put(change)

    def call(self, change: Change) -> None:
        if self.is_closed:
            return
        try:
            self._on_change(change)
        except Exception:
            logger.exception("what follows %r in a registry raised at the %s of %r", self._key, change.kind, change.key)

    def close(self) -> None:
        self.is_closed = True
        self._registry._forget(self)
        self._changes.put(None)
        if self.on_closed is not None:
            self.on_closed()

    def _run(self) -> None:
        while (change := self._changes.get()) is not None:
            self.call(change)


class MemoryRegistry(Registry):
    """Each is a store of its own. After `close` it is empty, its leases have ended, and every call raises RegistryError."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        """Also tells the thread that ends leases of a date before the one that it waits for, and of the end."""
        self._closed = False
        self._tree = Tree()
        self._puts = 0
        self._followings: tuple[MemoryFollowing, ...] = ()
        self._leases: set[MemoryLease] = set()
        """Those that live."""
        self._look_at = inf
        """When to look for leases that have ended. Not after the first of them ends; maybe before, for those renewed since."""
        self._thread: threading.Thread | None = None
        """Ends leases, from the first on that does not keep alive."""

    # --- writing ---

    def put_all(self, values: Mapping[str, str], *, lease: Lease | None = None, only_if_absent: bool = False) -> bool:
        checked = check_values(values)
        with self._open():
            ours = self._our(lease)
            if only_if_absent and any(key in self._tree for key in checked):
                return False
            self._puts += 1
            for key, value in checked.items():
                self._tree.put(key, value, ours, self._puts)
                self._tell(Change("put", key, value))
            return True

    def delete(self, key: str) -> bool:
        bare = check_key(key)
        with self._open():
            there = bare in self._tree
            if there:
                self._remove([bare])
            return there

    def delete_subtree(self, key: str) -> int:
        bare = check_key(key, or_top=True)
        with self._open():
            there = self._tree.subtree(bare)
            self._remove(there.keys())
            return len(there)

    def lease(self, ttl_s: float, *, keep_alive: bool = True) -> MemoryLease:
        """A new lease. One that keeps alive lasts until its `end`, or the registry's `close`."""
        check_ttl(ttl_s)
        with self._open():
            lease = MemoryLease(self, ttl_s, keep_alive)
            self._leases.add(lease)
            if lease.ends_at < self._look_at:
                self._look_at = lease.ends_at
                if self._thread is None:
                    self._thread = threading.Thread(target=self._end_leases, name="nwdisco: leases", daemon=True)
                    self._thread.start()
                self._lock.notify_all()
            return lease

    # --- reading ---

    def get(self, key: str) -> str | None:
        bare = check_key(key)
        with self._open():
            entry = self._tree.get(bare)
            return None if entry is None else entry.value

    def subtree(self, key: str, *, by_creation: bool = False) -> dict[str, str]:
        bare = check_key(key, or_top=True)
        with self._open():
            there = list(self._tree.subtree(bare).items())
        if by_creation:
            there.sort(key=lambda item: item[1].created)
        return {here: entry.value for here, entry in there}

    def follow(self, key: str, on_change: Callable[[Change], None]) -> MemoryFollowing:
        """What is there is told by the thread that calls this; what comes after, by one of its own."""
        bare = check_key(key, or_top=True)
        check_on_change(on_change)
        following = MemoryFollowing(self, bare, on_change)
        with self._open():
            there = self._tree.subtree(bare)
            self._followings += (following,)
        try:
            for here, entry in there.items():
                following.call(Change("put", here, entry.value))
            following.start()
        except BaseException:
            following.close()
            raise
        return following

    def close(self) -> None:
        """A callback that is under way in another thread is not waited for."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._leases.clear()
            self._tree = Tree()
            followings, self._followings = self._followings, ()
            self._lock.notify_all()
        for following in followings:
            following.close()
        if self._thread is not None:
            self._thread.join()

    # --- under the lock ---

    @contextmanager
    def _open(self) -> Iterator[None]:
        """The lock of an open registry, in which no lease has outlived its end."""
        with self._lock:
            if self._closed:
                raise RegistryError("this registry is closed: make a new one")
            self._end_those_due()
            yield

    def _our(self, lease: Lease | None) -> MemoryLease | None:
        if lease is None:
            return None
        if not isinstance(lease, MemoryLease) or lease._registry is not self:
            raise RegistryError("this lease is another registry's: put under one that `lease` of this registry gave")
        if lease not in self._leases:
            raise RegistryError(f"the lease {lease.id} has ended: put under a new one")
        return lease

    def _remove(self, keys: Collection[str]) -> None:
        self._tree.remove(keys)
        for key in keys:
            self._tell(Change("delete", key, None))

    def _tell(self, change: Change) -> None:
        for following in self._followings:
            following.tell(change)

    def _end_those_due(self) -> None:
        now = time.monotonic()
        if now < self._look_at:
            return
        for lease in sorted(self._leases, key=lambda lease: lease.ends_at):
            if lease.ends_at > now:
                break
            self._end(lease)
        self._look_at = min((lease.ends_at for lease in self._leases), default=inf)

    def _end(self, lease: MemoryLease) -> None:
        self._leases.remove(lease)
        self._remove(sorted(lease.keys))

    # --- for leases, followings and the thread ---

    def _renew(self, lease: MemoryLease) -> bool:
        with self._lock:
            self._end_those_due()
            lives = lease in self._leases
            if lives:
                lease.start_anew()
            return lives

    def _end_now(self, lease: MemoryLease) -> None:
        with self._lock:
            if lease in self._leases:
                self._end(lease)

    def _forget(self, following: MemoryFollowing) -> None:
        with self._lock:
            self._followings = tuple(other for other in self._followings if other is not following)

    def _end_leases(self) -> None:
        with self._lock:
            while not self._closed:
                self._end_those_due()
                self._lock.wait(min(self._look_at - time.monotonic(), threading.TIMEOUT_MAX))
