"""The registry: a hierarchical store of text keys and values, and what every store behind it promises.

A key is a path, `shop/services/printer/a1/port`: parts that are not empty, between slashes (one before the first is
allowed and means nothing). A value is text. memory.py and etcd.py are the two stores; a third is one class with the
methods that are abstract here, and passes tests/registry_contract.py.

All methods block, may be called from any thread, and raise RegistryKeyError for a key or value that is none,
RegistryUnavailableError when the store could not be reached in time, RegistryAccessError when it refuses us.
"""

from __future__ import annotations

import queue
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Generic, Literal, Self, TypeVar

from ..core.names import check_wait
from ..errors import RegistryKeyError

T = TypeVar("T")
MAX_KEY_BYTES = 1024
"""Of a key, as UTF-8."""
MAX_VALUE_BYTES = 512 * 1024
"""Of a value, as UTF-8."""
MAX_AT_ONCE = 100
"""Values of one put_all; etcd refuses more than 128 operations in a transaction, ..."""
MAX_BYTES_AT_ONCE = 1024 * 1024
"""... and requests over 1.5 MiB."""
MIN_TTL_S = 2
"""The shortest life of a lease; etcd makes shorter ones as long."""


@dataclass(frozen=True)
class Change:
    """What happened to one key: `value` is the new one, None for "delete"."""

    kind: Literal["put", "delete"]
    key: str
    value: str | None


class Lease(ABC):
    """Keys put under it vanish when it ends: by `end`, or `ttl_s` seconds after it was last renewed.

    One that keeps alive renews itself until `end` or the end of the process; where the store loses it all the same (it was away
    for longer than `ttl_s`), a new one takes its place and everything that was put under it is put again.
    """

    id: str
    """What the store calls it."""
    ttl_s: float

    @abstractmethod
    def renew(self) -> bool:
        """From now on, `ttl_s` again; False when it has ended. (One that keeps alive does so by itself.)"""

    @abstractmethod
    def end(self) -> None:
        """Its keys vanish now. Once is enough; again does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Following(ABC):
    """Calls back with changes until closed, by its owner or with its registry."""

    is_closed = False
    on_closed: Callable[[], None] | None = None
    """Called once it is closed."""

    @abstractmethod
    def close(self) -> None:
        """No call comes after this, but one that is under way in another thread. Sets `is_closed`, then calls `on_closed`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Registry(ABC):
    # --- writing ---

    def put(self, key: str, value: str, *, lease: Lease | None = None, only_if_absent: bool = False) -> bool:
        """Set one key; False (and nothing is changed) with `only_if_absent` when it is there already."""
        return self.put_all({key: value}, lease=lease, only_if_absent=only_if_absent)

    @abstractmethod
    def put_all(self, values: Mapping[str, str], *, lease: Lease | None = None, only_if_absent: bool = False) -> bool:
        """Set several keys at once: all or none. With `only_if_absent` none when one of them is there already."""

    @abstractmethod
    def delete(self, key: str) -> bool:
        """Remove one key; False when it was not there. What is beneath it stays."""

    @abstractmethod
    def delete_subtree(self, key: str) -> int:
        """Remove a key and all beneath it, at once; how many there were. "" is everything."""

    @abstractmethod
    def lease(self, ttl_s: float, *, keep_alive: bool = True) -> Lease:
        """A new lease. `ttl_s` is a whole number of seconds in etcd (rounded up), at least 2."""

    # --- reading ---

    @abstractmethod
    def get(self, key: str) -> str | None:
        """The value of one key."""

    @abstractmethod
    def subtree(self, key: str, *, by_creation: bool = False) -> dict[str, str]:
        """A key and all beneath it, in the order of the keys, or in that of their creation. "" is everything."""

    def children(self, key: str) -> list[str]:
        """The names directly beneath a key, sorted. "" is the top."""
        bare = check_key(key, or_top=True)
        depth = len(bare.split("/")) if bare else 0
        return sorted({parts[depth] for k in self.subtree(bare) if len(parts := k.split("/")) > depth})

    @abstractmethod
    def follow(self, key: str, on_change: Callable[[Change], None]) -> Following:
        """Hear of a key and all beneath it: first, before this returns, a "put" for each that is there, then every change, once,
        in order, from a thread of the registry's. After the store was away, what was missed comes as changes too.
        An `on_change` that raises is logged, and called again with the next."""

    def watch(self, key: str) -> Watch:
        """The same as `follow`, to iterate over."""
        return Watch(self, key)

    @abstractmethod
    def close(self) -> None:
        """End what this registry keeps running: leases that it keeps alive, and whoever follows."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Heard(Generic[T]):
    """Iterate over what a following calls back with. Ends when it, or what it follows, is closed, from whatever thread."""

    def __init__(self, follow: Callable[[Callable[[T], None]], Following]) -> None:
        self._heard: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._following = follow(self._heard.put)
        self._following.on_closed = lambda: self._heard.put(None)
        if self._following.is_closed:  # before we could say so
            self._heard.put(None)

    def next(self, wait_s: float | None = None) -> T | None:
        """The next one; None when none came within `wait_s` (None: wait for ever), or it was closed."""
        limit_s = None if wait_s is None else check_wait(wait_s)
        try:
            one = self._heard.get(timeout=limit_s)
        except queue.Empty:
            return None
        if one is None:
            self._heard.put(None)  # for whoever else waits, now or later
        return one

    @property
    def has_ended(self) -> bool:
        return self._following.is_closed

    def close(self) -> None:
        self._following.close()

    def __iter__(self) -> Iterator[T]:
        while (one := self.next()) is not None:
            yield one

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Watch(Heard[Change]):
    """Iterate over changes, first over what is there. Ends when it, or its registry, is closed."""

    def __init__(self, registry: Registry, key: str) -> None:
        super().__init__(lambda on_change: registry.follow(key, on_change))


def check_key(key: str, *, or_top: bool = False) -> str:
    """The key without a slash before it. RegistryKeyError for one with empty parts."""
    if not isinstance(key, str):
        raise RegistryKeyError(f"a key is text, not {type(key).__name__}")
    bare = key[1:] if key.startswith("/") else key
    if bare == "" and or_top:
        return bare
    if "" in bare.split("/"):
        raise RegistryKeyError(f"the key {key[:80]!r} has an empty part: write parts with one slash between each two")
    if not bare.isprintable():
        raise RegistryKeyError(f"the key {key[:80]!r} has characters that cannot be printed: leave them out")
    if len(bare.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        raise RegistryKeyError(f"a key has at most {MAX_KEY_BYTES} bytes as UTF-8, this one more: {key[:40]!r}…")
    return bare


def check_values(values: Mapping[str, str]) -> dict[str, str]:
    """The values under their checked keys. RegistryKeyError for what is none."""
    if not isinstance(values, Mapping):
        raise RegistryKeyError(f"values are a dict of key to text, not {type(values).__name__}")
    if not 0 < len(values) <= MAX_AT_ONCE:
        raise RegistryKeyError(f"put 1 to {MAX_AT_ONCE} values at once, not {len(values)}: put more in several calls")
    checked: dict[str, str] = {}
    together = 0
    for key, value in values.items():
        bare = check_key(key)
        if not isinstance(value, str):
            raise RegistryKeyError(f"the value of {key!r} is text, not {type(value).__name__}: use str or JSON")
        try:
            size = len(value.encode())
        except UnicodeEncodeError as error:
            raise RegistryKeyError(f"the value of {key!r} cannot be written as UTF-8: {error.reason}") from None
        if size > MAX_VALUE_BYTES:
            raise RegistryKeyError(f"the value of {key!r} has {size} bytes, and may have {MAX_VALUE_BYTES}")
        if bare in checked:
            raise RegistryKeyError(f"the key {bare!r} stands twice among the values")
        checked[bare] = value
        together += size
    if together > MAX_BYTES_AT_ONCE:
        raise RegistryKeyError(f"{together} bytes of values at once, and {MAX_BYTES_AT_ONCE} is the most: put fewer")
    return checked


def check_on_change(on_change: object) -> None:
    """ValueError for what cannot be called back."""
    if not callable(on_change):
        raise ValueError(f"on_change is {on_change!r}: give a function, which is called with each Change")


def check_ttl(ttl_s: float) -> float:
    """A lease's time to live. RegistryKeyError for one that no lease can have."""
    if isinstance(ttl_s, bool) or not isinstance(ttl_s, (int, float)) or not MIN_TTL_S <= ttl_s < inf:
        raise RegistryKeyError(f"a lease lives {MIN_TTL_S} seconds or more, not {ttl_s!r}: give a larger number")
    return ttl_s
