"""Following a prefix of etcd: all that is there, then every change, revision-exact, through outages and compactions.

The prefix is read at one revision and watched from the next, so nothing is missed and nothing comes twice. When the watch
breaks, for whatever reason, it begins anew with what is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..errors import RegistryError
from .client import Client, Entry
from .errors import Compacted
from .trouble import Trouble

RETRY_S = 0.25
"""After a failure, before the next try."""
Listing = Callable[[list[Entry]], None]
Changes = Callable[[list[tuple[Entry, bool]]], None]


class Follower:
    """Calls `on_listing` with all that is there, at the start and after each gap, and `on_changes` with what happens then."""

    def __init__(self, client: Client, prefix: bytes, on_listing: Listing, on_changes: Changes) -> None:
        self._client = client
        self._prefix = prefix
        self._on_listing = on_listing
        self._on_changes = on_changes
        self._trouble = Trouble(client.connection)
        self._watching: asyncio.Task[None] | None = None
        self._listed_at: int | None = None
        """The revision of a listing after which no watch has begun yet."""

    async def begin(self) -> None:
        """List what is there; `run` goes on from there. For who wants to know what prevents it: that is raised."""
        entries, self._listed_at = await self._client.read(self._prefix)
        self._on_listing(entries)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._watching = asyncio.ensure_future(self._follow())
            try:
                await self._watching
            except Compacted:
                await asyncio.sleep(RETRY_S)
            except RegistryError as error:
                self._trouble.failed(error)
                await asyncio.sleep(RETRY_S)
            except asyncio.CancelledError:
                if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                    self._watching.cancel()
                    raise  # or else only the watch was given up

    def again(self) -> None:
        """Read everything again, as soon as etcd answers: something may have been missed, or forgotten."""
        self._listed_at = None
        if self._watching is not None:
            self._watching.cancel()

    async def _follow(self) -> None:
        if self._listed_at is None:
            await self.begin()
        revision, self._listed_at = self._listed_at, None
        assert revision is not None
        async for changes in self._client.watch(self._prefix, revision + 1):
            self._trouble.well()
            if changes:
                self._on_changes(changes)
