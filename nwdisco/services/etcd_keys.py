"""A registry's keys and values as etcd has them: bytes, under a prefix that is put before every key.

Others may write there too. What is no key or no value of a registry's is left out, with one warning each in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ..errors import RegistryKeyError
from ..etcd.client import Entry
from .registry import check_key

MAX_WARNED = 100
"""Foreign keys that are warned of; more of them are left out without a word."""

logger = logging.getLogger("nwdisco")


class Keys:
    def __init__(self, prefix: str) -> None:
        if not isinstance(prefix, str) or not prefix.isprintable():
            raise RegistryKeyError(f'the prefix of the keys is {prefix!r}: give text that can be printed, such as "/"')
        self._prefix = prefix.encode()
        self._warned: set[bytes] = set()

    def raw(self, key: str) -> bytes:
        return self._prefix + key.encode()

    def beneath(self, key: str) -> bytes:
        """What all keys beneath this one begin with."""
        return self.raw(key + "/") if key else self._prefix

    def read(self, entry: Entry, top: str) -> tuple[str, str | None] | None:
        """Its key, and its value or None for one that nobody can read; None when it is not `top` nor beneath it, or no key."""
        if entry.key != self.raw(top) and not entry.key.startswith(self.beneath(top)):
            return None
        try:
            key = entry.key[len(self._prefix) :].decode()
            if check_key(key) != key:
                raise RegistryKeyError(f"the key {key!r} has a slash before it")
        except (UnicodeDecodeError, RegistryKeyError) as error:
            self._warn(entry.key, f"it is no key of a registry's: {error}")
            return None
        return key, self.value(entry)

    def value(self, entry: Entry) -> str | None:
        try:
            return entry.value.decode()
        except UnicodeDecodeError:
            self._warn(entry.key, "its value is no text in UTF-8")
            return None

    def texts(self, entries: Iterable[Entry], top: str) -> dict[str, str]:
        """What `read` makes of them, in their order."""
        read = (self.read(entry, top) for entry in entries)
        return {one[0]: one[1] for one in read if one is not None and one[1] is not None}

    def _warn(self, raw: bytes, why: str) -> None:
        if raw not in self._warned and len(self._warned) < MAX_WARNED:
            self._warned.add(raw)
            logger.warning("%r in etcd is left out: %s", raw, why)
