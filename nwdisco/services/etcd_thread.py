"""An asyncio loop in a daemon thread, for those who block: their calls go there, each with a deadline.

Ctrl-C ends a call that waits. The end of the thread ends all that runs there.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from ..errors import RegistryError, RegistryUnavailableError

T = TypeVar("T")
FORKED = (
    "a registry in etcd was open when this process was forked, and gRPC serves the parent alone from then on: "
    'close it before you fork, or start the child by multiprocessing\'s "spawn"'
)
_open: set[LoopThread] = set()
"""Of this process; and in the child of a fork those of its parent, which has gRPC to itself from then on."""


class LoopThread:
    def __init__(self, name: str) -> None:
        if any(other.is_of_parent for other in tuple(_open)):
            raise RegistryError(FORKED)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        """Whoever has it and finds the thread open comes before the thread's end."""
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        _open.add(self)

    @property
    def is_of_parent(self) -> bool:
        return self._pid != os.getpid()

    def call(self, work: Callable[[], Coroutine[Any, Any, T]], limit_s: float, late: str) -> T:
        """Its result. Raises RegistryUnavailableError with the text `late` after `limit_s`, RegistryError when this is closed."""

        async def limited() -> T:
            try:
                async with asyncio.timeout(limit_s):
                    return await work()
            except TimeoutError:
                raise RegistryUnavailableError(late) from None

        if self.is_of_parent:
            raise RegistryError(FORKED)
        with self._lock:
            if self._closed:
                raise RegistryError("this registry is closed: make a new one")
            future = asyncio.run_coroutine_threadsafe(limited(), self._loop)
        try:
            return _result(future)
        finally:
            del future

    def soon(self, action: Callable[[], object]) -> None:
        """Have it done there, in a moment; not any more when this is closed."""
        if self.is_of_parent:
            return
        with self._lock:
            if not self._closed:
                self._loop.call_soon_threadsafe(action)

    def close(self, last: Callable[[], Awaitable[None]]) -> None:
        """Cancel all that runs there, do `last`, and end the thread. Once is enough; in a child of a fork it does nothing."""
        if self.is_of_parent:
            return
        with self._lock:
            if self._closed:
                return
            self._closed = True
            future = asyncio.run_coroutine_threadsafe(self._end(last), self._loop)
        try:
            _result(future)
        finally:
            del future
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            _open.discard(self)
            gc.collect()  # gRPC's connection and threads end with the last of its objects, and those refer to each other

    async def _end(self, last: Callable[[], Awaitable[None]]) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)
        await last()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()


def _result(future: Future[T]) -> T:
    """Whoever waits here drops the future at once: an error whose traceback leads to itself would keep gRPC's channel, and that
    tries to connect as long as it is there."""
    try:
        return future.result()
    except CancelledError:
        raise RegistryError("this registry was closed meanwhile: make a new one") from None
    except BaseException:  # Ctrl-C, perhaps
        future.cancel()
        raise
    finally:
        del future
