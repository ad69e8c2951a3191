"""EtcdRegistry: a registry that programs share, on etcd v3.

    from nwdisco.services.etcd import EtcdRegistry

    with EtcdRegistry("192.168.1.10:2379", prefix="/") as registry, registry.lease(10) as lease:
        registry.put("shop/services/printer/a1/port", "9100", lease=lease)

What is asked of it happens on an asyncio loop in a thread of its own (etcd_thread.py). etcd_writing.py has the leases,
etcd_following.py who follows, etcd_keys.py what keys and values are in etcd.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from math import ceil
from typing import Any, TypeVar

try:
    from ..etcd.client import Client, Op
except ModuleNotFoundError as error:
    raise ImportError("EtcdRegistry needs aetcd: pip install 'nwdisco[etcd]'") from error
from ..core.names import LONGEST_WAIT_S
from ..errors import RegistryAccessError, RegistryError, RegistryKeyError
from ..etcd.settings import EtcdSettings
from .etcd_following import EtcdFollowing
from .etcd_keys import Keys
from .etcd_thread import LoopThread
from .etcd_writing import EtcdLease, Writer
from .registry import Change, Lease, Registry, check_key, check_on_change, check_ttl, check_values

LONGEST_TTL_S = 9_000_000_000
"""Of a lease; etcd grants none that is longer."""
ANSWER = 0.8
"""The part of a call's time that etcd has for one answer; then there is time to say so, and to connect anew."""
CLOSE_S = 2.0
"""How long the leases have to end at `close`."""

T = TypeVar("T")
logger = logging.getLogger("nwdisco")


class EtcdRegistry(Registry):
    """Each has a connection and a thread of its own; those with the same etcd and prefix see the same keys.

    `address`: "HOST:PORT[,HOST:PORT...]", with https:// before each for TLS; None: NWDISCO_ETCD. User, password and certificates
    come from NWDISCO_ETCD_USER, _PASSWORD, _PASSWORD_FILE, _CA, _CERT and _KEY. EtcdSettings say all of that in their place.
    `prefix`: put before every key as it is, "/" for keys that begin with a slash. `timeout_s`: how long a call may take.

    Raises SettingError, RegistryUnavailableError, RegistryAccessError, or RegistryError where there is something else than
    etcd 3.3 or later.
    """

    def __init__(self, address: str | EtcdSettings | None = None, *, prefix: str = "", timeout_s: float = 5.0) -> None:
        is_number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
        if not is_number or not 0 < timeout_s <= LONGEST_WAIT_S:
            raise ValueError(
                f"timeout_s is a number of seconds above 0 and up to {LONGEST_WAIT_S:g}, not {timeout_s!r}"
            )
        self._settings = address if isinstance(address, EtcdSettings) else EtcdSettings.from_environment(address or "")
        self._timeout_s = timeout_s
        self._keys = Keys(prefix)
        self._client = Client(self._settings, ANSWER * timeout_s)
        self._writer = Writer(self._client)
        self._followings: set[EtcdFollowing] = set()
        self._thread = LoopThread("nwdisco: etcd")
        try:
            self._call(self._connect)
        except BaseException:
            self.close()
            raise

    # --- writing ---

    def put_all(self, values: Mapping[str, str], *, lease: Lease | None = None, only_if_absent: bool = False) -> bool:
        raw = {self._keys.raw(key): value.encode() for key, value in check_values(values).items()}
        ours = self._our(lease)
        return self._call(lambda: self._writer.put(raw, ours, only_if_absent))

    def delete(self, key: str) -> bool:
        ops = [Op(self._keys.raw(check_key(key)), None)]
        return self._call(lambda: self._writer.delete(ops)) > 0

    def delete_subtree(self, key: str) -> int:
        bare = check_key(key, or_top=True)
        ops = [Op(self._keys.beneath(bare), None, is_prefix=True)]
        if bare:
            ops.append(Op(self._keys.raw(bare), None))
        return self._call(lambda: self._writer.delete(ops))

    def lease(self, ttl_s: float, *, keep_alive: bool = True) -> EtcdLease:
        """A new lease, of whole seconds (rounded up). One that is kept alive lasts until its `end`, or the registry's `close`."""
        if check_ttl(ttl_s) > LONGEST_TTL_S:
            raise RegistryKeyError(f"a lease in etcd lives {LONGEST_TTL_S} seconds at most, not {ttl_s!r}")
        return self._call(lambda: self._writer.grant(ceil(ttl_s), keep_alive, self._call))

    # --- reading ---

    def get(self, key: str) -> str | None:
        raw = self._keys.raw(check_key(key))
        entry = self._call(lambda: self._client.get(raw))
        return None if entry is None else self._keys.value(entry)

    def subtree(self, key: str, *, by_creation: bool = False) -> dict[str, str]:
        bare = check_key(key, or_top=True)
        entries, _ = self._call(lambda: self._client.read(self._keys.raw(bare), by_creation))
        return self._keys.texts(entries, bare)

    def follow(self, key: str, on_change: Callable[[Change], None]) -> EtcdFollowing:
        """What is there is told by the thread that calls this; what comes after, by one of its own."""
        check_on_change(on_change)
        following = EtcdFollowing(self._keys, check_key(key, or_top=True), on_change, self._forget)
        try:
            self._call(lambda: self._listen(following))
            following.start()
        except BaseException:
            following.close()
            raise
        return following

    def close(self) -> None:
        """A callback that is under way in another thread is not waited for. In a child of a fork, nothing happens."""
        self._thread.close(self._leave)

    # --- helpers ---

    def _our(self, lease: Lease | None) -> EtcdLease | None:
        if lease is None:
            return None
        if not isinstance(lease, EtcdLease) or lease.writer is not self._writer:
            raise RegistryError("this lease is another registry's: put under one that `lease` of this registry gave")
        return lease

    def _call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        late = f"etcd at {self._settings} did not answer within {self._timeout_s:g} s: is it running, is it overloaded?"
        return self._thread.call(work, self._timeout_s, late)

    def _forget(self, following: EtcdFollowing) -> None:
        def forget() -> None:
            following.listen_no_more()
            self._followings.discard(following)

        self._thread.soon(forget)

    # --- on the loop ---

    async def _connect(self) -> None:
        try:
            await self._client.touch()
        except RegistryAccessError as error:
            if "permission denied" not in str(error):  # we are let in: it is only that key which is not for us
                raise

    async def _listen(self, following: EtcdFollowing) -> None:
        await following.listen(self._client)
        self._followings.add(following)

    async def _leave(self) -> None:
        for following in self._followings:
            following.end()
            following.listen_no_more()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._writer.close()
        except (RegistryError, TimeoutError):
            logger.warning(
                "etcd at %s does not answer: what this program has there ends with its leases", self._settings
            )
        await self._client.close()
