"""What this process keeps in etcd under one lease, whatever happens to the lease and to etcd.

`run` sees to it that what was set stands there: it grants a lease, keeps it alive, writes what is new, and when the lease was
lost, or etcd restored from a backup, grants another, under which its owner sets everything again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from ..errors import RegistryError
from .client import Client, Op
from .errors import LeaseLost, LeaseTaken
from .trouble import Trouble

AT_ONCE = 100
"""Steps of one transaction; etcd allows 128."""
RENEWED_EACH = 0.25
"""The part of its time to live after which a lease is renewed."""
RETRY_S = 0.25
"""After a failure, before the next try."""
logger = logging.getLogger("nwdisco")


class Shelf:
    def __init__(
        self, client: Client, ttl_s: int, on_lease: Callable[[int], None], new_id: Callable[[], int] = lambda: 0
    ) -> None:
        """`on_lease` hears of each new lease, when nothing is set any more. `new_id` gives their ids; 0: etcd chooses."""
        self._client = client
        self._ttl_s = ttl_s
        self._on_lease = on_lease
        self._new_id = new_id
        self._set: dict[bytes, bytes] = {}
        self._unwritten: dict[bytes, None] = {}
        """Keys whose value in etcd differs, or may differ, from what is set; in the order in which they were."""
        self._stirred = asyncio.Event()
        self.lease = 0
        """0: there is none."""
        self.trouble = Trouble(client.connection)
        self.on_answer: list[Callable[[float], None]] = []
        """Called with the time.monotonic() of each answer of etcd's."""
        self.on_back: list[Callable[[], None]] = []
        """Called when all is well again after something was wrong."""

    def set(self, key: bytes, value: bytes | None) -> None:
        """What is to stand there; None: nothing."""
        if value is None:
            self._set.pop(key, None)
        else:
            self._set[key] = value
        self._unwritten[key] = None
        self._stirred.set()

    async def run(self) -> None:
        """Until cancelled."""
        renew_at = 0.0
        while True:
            try:
                if not self.lease:
                    await self._begin()
                    renew_at = time.monotonic() + RENEWED_EACH * self._ttl_s
                elif time.monotonic() >= renew_at:
                    await self._client.renew(self.lease)
                    if not await self._client.remembers():
                        raise LeaseLost(f"etcd at {self._client.settings} was restored from a backup")
                    self._answered()
                    renew_at = time.monotonic() + RENEWED_EACH * self._ttl_s
                await self._write()
                if self.trouble.well():
                    for callback in self.on_back:
                        callback()
                await self._rest(renew_at - time.monotonic())
            except LeaseLost as error:
                logger.warning("%s: everything is registered again under a new lease", error)
                self.lease = 0  # what it has in a restored etcd and should not ends with it
            except LeaseTaken:
                continue  # with another id
            except RegistryError as error:
                self.trouble.failed(error)
                await asyncio.sleep(RETRY_S)
                renew_at = 0.0  # the first thing to know is whether the lease is there still

    async def end(self) -> None:
        """End the lease, and with it all that stands under it. Not while `run` runs."""
        if self.lease:
            lease, self.lease = self.lease, 0
            await self._client.revoke(lease)

    async def _begin(self) -> None:
        self.lease = await self._client.grant(self._ttl_s, self._new_id())
        self._answered()
        self._set.clear()
        self._unwritten.clear()
        self._on_lease(self.lease)

    async def _write(self) -> None:
        """A part of what is not written yet, in one transaction."""
        self._stirred.clear()
        values = {key: self._set.get(key) for key in list(self._unwritten)[:AT_ONCE]}
        if not values:
            return
        await self._client.write([Op(key, value) for key, value in values.items()], self.lease)
        self._answered()
        for key, value in values.items():
            if self._set.get(key) is value:
                del self._unwritten[key]
        if self._unwritten:
            self._stirred.set()

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._stirred.wait()
        except TimeoutError:
            return

    def _answered(self) -> None:
        for tell in self.on_answer:
            tell(time.monotonic())
