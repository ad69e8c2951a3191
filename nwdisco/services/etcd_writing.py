"""What one registry writes to etcd, and its leases: who loses one that it keeps alive gets it again, and all that stood under it.

Writes come one after the other, so that it is known what stands under which lease. All of it runs on one asyncio loop, but
`renew` and `end` of a lease, which block.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from ..errors import RegistryError
from ..etcd.client import Client, Op, Written
from ..etcd.errors import LeaseLost, LeaseTaken
from ..etcd.trouble import Trouble
from .registry import MAX_AT_ONCE, MAX_BYTES_AT_ONCE, Lease

RENEWED_EACH = 1 / 3
"""The part of its time to live after which a lease is renewed."""
RETRY_S = 0.25
"""After a failure, before the next try."""

T = TypeVar("T")
logger = logging.getLogger("nwdisco")


class Caller(Protocol):
    def __call__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Its result, from the loop."""


class EtcdLease(Lease):
    """Its `id` is etcd's, as decimal digits. It stays the same when the lease was lost and is granted again."""

    def __init__(self, writer: Writer, call: Caller, number: int, ttl_s: int, keep_alive: bool) -> None:
        self.id = str(number)
        self.ttl_s = float(ttl_s)
        self.writer = writer
        self.number = number
        self.keeps = keep_alive
        self.values: dict[bytes, bytes] = {}
        """What is to be put again should the lease be lost."""
        self.is_lost = False
        """etcd does not have it, or may not have all of its values."""
        self.times_lost = 0
        self.has_ended = False
        self.keeper: asyncio.Task[None] | None = None
        self._call = call

    def renew(self) -> bool:
        return not self.has_ended and self._call(lambda: self.writer.renew(self))

    def end(self) -> None:
        if not self.has_ended:
            self._call(lambda: self.writer.end(self))


class Writer:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = asyncio.Lock()
        self._owners: dict[bytes, tuple[EtcdLease, int]] = {}
        """Under which of the leases that are kept alive a key stands, and at which revision it was put there."""
        self._kept: set[EtcdLease] = set()
        self._trouble = Trouble(client.connection)

    async def put(self, values: Mapping[bytes, bytes], lease: EtcdLease | None, only_if_absent: bool) -> bool:
        ops = [Op(key, value) for key, value in values.items()]
        async with self._lock:
            await self._look_back()
            if lease is None:
                done = await self._client.write(ops, 0, only_if_absent)
            else:
                done = await self._write_under(lease, ops, only_if_absent)
            if done is None:
                return False
            self._forget(values)
            if lease is not None and lease.keeps:
                lease.values.update(values)
                self._stands(ops, lease, done)
            return True

    async def delete(self, ops: list[Op]) -> int:
        """How many there were."""
        async with self._lock:
            await self._look_back()
            done = await self._client.write(ops)
            self._forget([key for key in self._owners if any(_reaches(op, key) for op in ops)])
            return 0 if done is None else done.deleted

    # --- leases ---

    async def grant(self, ttl_s: int, keep_alive: bool, call: Caller) -> EtcdLease:
        lease = EtcdLease(self, call, await self._client.grant(ttl_s), ttl_s, keep_alive)
        if keep_alive:
            self._kept.add(lease)
            lease.keeper = asyncio.ensure_future(self._keep(lease))
        return lease

    async def renew(self, lease: EtcdLease) -> bool:
        times_lost = lease.times_lost
        if not lease.is_lost:
            try:
                await self._client.renew(lease.number)
            except LeaseLost:
                times_lost += 1
        async with self._lock:
            await self._look_back()
            if not lease.is_lost and lease.times_lost >= times_lost:  # or somebody had it again first
                return True
            if not lease.keeps:
                lease.has_ended = True
                return False
            await self._have_again(lease)
            return True

    async def end(self, lease: EtcdLease) -> None:
        async with self._lock:
            self._let_go(lease)
            await self._client.revoke(lease.number)
            lease.has_ended = True

    async def close(self) -> None:
        """End the leases that are kept alive. Raises what prevents it; then they end by themselves, in their time."""
        ending = list(self._kept)
        for lease in ending:
            self._let_go(lease)
            lease.has_ended = True
        results = await asyncio.gather(*(self._client.revoke(e.number) for e in ending), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    # --- under the lock ---

    async def _look_back(self) -> None:
        """Was etcd restored from a backup? To be asked before another write is the last one."""
        if self._kept and not await self._client.remembers():
            for lease in self._kept:
                self._lose(lease)
            for lease in tuple(self._kept):
                await self._have_again(lease)

    async def _write_under(self, lease: EtcdLease, ops: list[Op], only_if_absent: bool) -> Written | None:
        ended = RegistryError(f"the lease {lease.id} has ended: put under a new one")
        if lease.has_ended:
            raise ended
        if lease.is_lost:
            await self._have_again(lease)
        try:
            return await self._client.write(ops, lease.number, only_if_absent)
        except LeaseLost:
            if not lease.keeps:
                lease.has_ended = True
                raise ended from None
        await self._have_again(lease)
        return await self._client.write(ops, lease.number, only_if_absent)

    async def _have_again(self, lease: EtcdLease) -> None:
        """Grant a lease that was lost again, under its old id, and put what stood under it; but not what others put meanwhile."""
        self._lose(lease)
        try:
            await self._client.grant(int(lease.ttl_s), lease.number)
        except LeaseTaken:  # by ourselves, in a try whose answer did not come; or a backup had it
            stale = set(await self._client.keys_under(lease.number)) - lease.values.keys()
            for ops in _portions(dict.fromkeys(stale)):
                await self._client.write(ops)
        for ops in tuple(_portions(lease.values)):  # some of them may turn out to be others' by now
            done = await self._client.write(ops, lease.number, only_if_absent=True)
            self._stands(ops, lease, done)
            if done is None:
                for op in ops:
                    await self._put_again(lease, op)
        lease.is_lost = False

    async def _put_again(self, lease: EtcdLease, op: Op) -> None:
        done = await self._client.write([op], lease.number, only_if_absent=True)
        if done is None:
            entry = await self._client.get(op.key)
            if entry is not None and entry.lease == lease.number and entry.value == op.value:
                return
            if entry is not None and entry.lease != lease.number and entry.modified > self._owners[op.key][1]:
                self._forget([op.key])
                logger.warning("%r in etcd was taken over by others while our lease was lost: left to them", op.key)
                return
            done = await self._client.write([op], lease.number)  # over what a backup had
        self._stands([op], lease, done)

    def _lose(self, lease: EtcdLease) -> None:
        if not lease.is_lost:
            lease.is_lost = True
            lease.times_lost += 1
            logger.warning(
                "etcd at %s lost the lease %s: what stood under it is put again", self._client.settings, lease.id
            )

    def _stands(self, ops: Iterable[Op], lease: EtcdLease, done: Written | None) -> None:
        if done is not None:
            self._owners.update({op.key: (lease, done.revision) for op in ops})

    def _forget(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            if (owner := self._owners.pop(key, None)) is not None:
                del owner[0].values[key]

    def _let_go(self, lease: EtcdLease) -> None:
        """Renew it no more."""
        self._kept.discard(lease)
        lease.keeps = False
        self._forget(list(lease.values))
        if lease.keeper is not None:
            lease.keeper.cancel()
            lease.keeper = None

    # --- keeping alive ---

    async def _keep(self, lease: EtcdLease) -> None:
        """Until cancelled."""
        wait_s = RENEWED_EACH * lease.ttl_s
        while True:
            await asyncio.sleep(wait_s)
            try:
                await self.renew(lease)
                self._trouble.well()
                wait_s = RENEWED_EACH * lease.ttl_s
            except RegistryError as error:
                self._trouble.failed(error)
                wait_s = RETRY_S


def _reaches(op: Op, key: bytes) -> bool:
    return key.startswith(op.key) if op.is_prefix else key == op.key


def _portions(values: Mapping[bytes, bytes | None]) -> Iterator[list[Op]]:
    """As many at once as etcd takes; None: to be deleted."""
    portion: list[Op] = []
    size = 0
    for key, value in values.items():
        value_size = len(value or b"")
        if portion and (len(portion) == MAX_AT_ONCE or size + value_size > MAX_BYTES_AT_ONCE):
            yield portion
            portion, size = [], 0
        portion.append(Op(key, value))
        size += value_size
    if portion:
        yield portion
