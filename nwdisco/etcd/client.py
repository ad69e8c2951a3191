"""What etcd is asked: keys are read, watched and written, leases granted, renewed and revoked, each call with a deadline.

A call that fails may have happened all the same, so nothing is sent twice by itself.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from typing import Any

from aetcd import rpc

from ..errors import RegistryAccessError, RegistryError, RegistryUnavailableError
from .connection import CALL_S, Connection
from .errors import Compacted, Future, LeaseLost
from .settings import EtcdSettings

PAGE = 1000
"""Keys read at a time."""
WITH_LEADER = (("hasleader", "true"),)
"""Said with a watch: a member of a cluster that has lost the others ends it after some seconds, in place of keeping silent."""
LOOKED_EACH_S = 0.1
"""A look at what was written last counts for so long: no backup is restored in a shorter time."""


@dataclass(frozen=True)
class Entry:
    """One key as it stands in etcd."""

    key: bytes
    value: bytes
    created: int
    """The revision at which it was created."""
    modified: int
    lease: int


@dataclass(frozen=True)
class Op:
    """One step of a transaction: put a value, or with None delete the key (or all of a prefix)."""

    key: bytes
    value: bytes | None
    is_prefix: bool = False


@dataclass(frozen=True)
class Written:
    """What etcd says of a transaction."""

    revision: int
    """At which it was done."""
    deleted: int
    """How many keys were."""


class Client:
    def __init__(self, settings: EtcdSettings, call_s: float = CALL_S) -> None:
        self.settings = settings
        self.connection = Connection(settings, call_s)
        self._done: dict[bool, tuple[Op, int]] = {}
        """The last put (True) and the last deletion, and the revision at which each was done."""
        self._looked_at = float("-inf")

    # --- reading ---

    async def get(self, key: bytes) -> Entry | None:
        response = await self._call("KV", "Range", rpc.RangeRequest(key=key))
        return _entry(response.kvs[0]) if response.kvs else None

    async def read(self, prefix: bytes, by_creation: bool = False) -> tuple[list[Entry], int]:
        """All keys of a prefix as they are at one revision, and that revision."""
        if by_creation:
            entries, revision = await self.read(prefix)
            return sorted(entries, key=lambda entry: (entry.created, entry.key)), revision
        entries, start, revision = [], prefix or b"\0", 0
        while True:
            response = await self._call(
                "KV",
                "Range",
                rpc.RangeRequest(key=start, range_end=range_end(prefix), limit=PAGE, revision=revision),
            )
            entries += [_entry(kv) for kv in response.kvs]
            revision = revision or response.header.revision
            if not response.more:
                return entries, revision
            start = entries[-1].key + b"\0"

    async def watch(self, prefix: bytes, revision: int) -> AsyncIterator[list[tuple[Entry, bool]]]:
        """From a revision on, what happens to the keys of a prefix: lists of (entry, whether it is there).

        The first list is empty: the watch stands. Raises Compacted, or RegistryUnavailableError when the connection breaks.
        """
        create = rpc.WatchCreateRequest(key=prefix or b"\0", range_end=range_end(prefix), start_revision=revision)
        async with self.connection.calling("Watch") as stub:
            call = stub.Watch(metadata=(*self.connection.metadata, *WITH_LEADER), wait_for_ready=True)
            try:
                await call.write(rpc.WatchRequest(create_request=create))
                async for response in call:
                    if response.compact_revision:
                        raise Compacted(f"etcd has forgotten what was before revision {response.compact_revision}")
                    if response.canceled:
                        raise RegistryError(f"etcd at {self.settings} ended a watch: {response.cancel_reason}")
                    yield [(_entry(event.kv), event.type == event.PUT) for event in response.events]
            finally:
                call.cancel()
        raise RegistryUnavailableError(f"etcd at {self.settings} ended the connection")

    # --- writing ---

    async def write(self, ops: Sequence[Op], lease: int = 0, only_if_absent: bool = False) -> Written | None:
        """All steps at once. None when one was there that was to be absent."""
        absent = [
            rpc.Compare(result=rpc.Compare.EQUAL, target=rpc.Compare.CREATE, key=op.key, create_revision=0)
            for op in ops
        ]
        request = rpc.TxnRequest(compare=absent if only_if_absent else [], success=[_request(op, lease) for op in ops])
        response = await self._call("KV", "Txn", request)
        if not response.succeeded:
            return None
        written = Written(
            response.header.revision, sum(each.response_delete_range.deleted for each in response.responses)
        )
        for op in ops:
            is_put = op.value is not None
            if is_put not in self._done or self._done[is_put][1] <= written.revision:
                self._done[is_put] = op, written.revision
        return written

    async def remembers(self) -> bool:
        """Whether what was written last through this is in etcd's history, as of then. If not, False, once: etcd was restored
        from an older backup. What was written since is undone, and leases that had ended since, or lost keys, live on as then.

        The latest revision alone would not show it, for others may have written since the restore. A member that lags behind
        shows nothing wrong: these reads wait until it has all that the cluster had agreed on when they were asked.
        """
        now = time.monotonic()
        if now - self._looked_at < LOOKED_EACH_S:
            return True
        for op, revision in tuple(self._done.values()):
            request = rpc.RangeRequest(
                key=op.key or b"\0",
                range_end=range_end(op.key) if op.is_prefix else b"",
                revision=revision,
                keys_only=True,
                limit=1,
            )
            try:
                response = await self._call("KV", "Range", request)
                is_as_then = [kv.mod_revision for kv in response.kvs] == ([] if op.value is None else [revision])
            except Future:
                is_as_then = False
            except (Compacted, RegistryAccessError):
                continue  # it cannot be told
            if not is_as_then:
                self._done.clear()
                return False
        self._looked_at = now
        return True

    async def grant(self, ttl_s: int, lease: int = 0) -> int:
        """A new lease; its id, of etcd's choice unless given."""
        response = await self._call("Lease", "LeaseGrant", rpc.LeaseGrantRequest(TTL=ttl_s, ID=lease))
        granted: int = response.ID
        return granted

    async def renew(self, lease: int) -> None:
        """Keep a lease alive. Raises LeaseLost."""

        async def once(stub: Any, **how: Any) -> Any:
            async for answer in stub.LeaseKeepAlive(iter([rpc.LeaseKeepAliveRequest(ID=lease)]), **how):
                return answer
            return None

        answer = await self.connection.answered("Lease", once)
        if answer is None or answer.TTL <= 0:
            raise LeaseLost(f"etcd at {self.settings} has no lease {lease} any more")

    async def revoke(self, lease: int) -> None:
        """End a lease and all its keys. Fine if it has ended."""
        try:
            await self._call("Lease", "LeaseRevoke", rpc.LeaseRevokeRequest(ID=lease))
        except LeaseLost:
            return

    async def keys_under(self, lease: int) -> list[bytes]:
        """What stands under a lease; nothing under one that is not there."""
        response = await self._call("Lease", "LeaseTimeToLive", rpc.LeaseTimeToLiveRequest(ID=lease, keys=True))
        return list(response.keys)

    async def touch(self) -> None:
        """Whether etcd answers, with the whole cluster behind it."""
        await self._call("KV", "Range", rpc.RangeRequest(key=b"nwdisco", count_only=True))

    async def close(self) -> None:
        await self.connection.close()

    async def _call(self, service: str, method: str, request: Any) -> Any:
        def once(stub: Any, **how: Any) -> Awaitable[Any]:
            answer: Awaitable[Any] = getattr(stub, method)(request, **how)
            return answer

        return await self.connection.answered(service, once)


def range_end(prefix: bytes) -> bytes:
    """The first key after all that begin with a prefix; all keys for an empty one."""
    bare = prefix.rstrip(b"\xff")
    return bare[:-1] + bytes([bare[-1] + 1]) if bare else b"\0"


def _entry(kv: Any) -> Entry:
    return Entry(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.lease)


def _request(op: Op, lease: int) -> Any:
    if op.value is not None:
        return rpc.RequestOp(request_put=rpc.PutRequest(key=op.key, value=op.value, lease=lease))
    if op.is_prefix:
        return rpc.RequestOp(
            request_delete_range=rpc.DeleteRangeRequest(key=op.key or b"\0", range_end=range_end(op.key))
        )
    return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=op.key))
