"""A pool: the live instances of one service, kept in step by following its source, and picked from by a strategy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container
from math import inf

from ..config import Forever
from ..core.names import check_wait
from ..errors import NoInstanceError
from .instance import InstanceKey, ServiceInstance
from .sources import InstanceEvent, Source
from .strategies import Chosen, Function, Strategy

_serving: dict[int, Pool] = {}
"""By the identity of its strategy: each pool that is open, of whatever discovery."""


class Pool:
    """Safe with threads. What it does is done in memory: only making it asks the source.

    Raises ValueError when the strategy serves another pool that is open: it would mix up their instances.
    """

    def __init__(self, source: Source, cluster: str, service: str, strategy: Strategy) -> None:
        self._service = service
        self.strategy = strategy
        """Called by this pool only, one call at a time."""
        self._there: dict[InstanceKey, ServiceInstance] = {}
        self._changed = threading.Condition()
        self._closed = False
        other = _serving.setdefault(id(strategy), self)
        if other is not self:
            raise ValueError(
                f"this strategy serves another service or discovery already ({other._service!r}): give each one of its own"
            )
        try:
            self._following = source.follow(cluster, service, self._take)
        except BaseException:
            self._leave()
            raise
        self._following.on_closed = self.close  # with its source: what it has would soon be wrong
        if self._following.is_closed:
            self.close()

    def pick(self, avoid: Container[str] = (), wait_s: float | Forever = 0.0) -> ServiceInstance:
        """The strategy's next, whose id is not to be avoided; its use lasts until `done`.

        Waits `wait_s` for one. Raises NoInstanceError when there is none then, or the pool is closed.
        """
        with self._changed:
            return self._wait_for(lambda: self.strategy.pick(avoid), wait_s)

    def done(self, instance: ServiceInstance) -> None:
        """A use has ended; once for each pick, or "least used" is misled."""
        with self._changed:
            self.strategy.done(instance)

    def choose(self, function: Function, wait_s: float | Forever = 0.0) -> ServiceInstance:
        """The one that a function chooses of all that are there, past the strategy. Raises NoInstanceError as `pick` does."""

        def chosen() -> ServiceInstance | None:
            strategy = Chosen(function)
            for instance in self._there.values():
                strategy.joined(instance)
            return strategy.pick()

        with self._changed:
            return self._wait_for(chosen, wait_s)

    def instances(self) -> list[ServiceInstance]:
        """All, healthy or not, in the order in which they joined."""
        with self._changed:
            return list(self._there.values())

    def wait(self, wait_s: float | Forever) -> bool:
        """Until there is an instance; False when none has come in time, or the pool was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._there or self._closed, check_wait(wait_s))
            return bool(self._there)

    @property
    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """It follows no more and is empty; whoever waits gets no instance."""
        with self._changed:
            if self._closed:
                return
            self._leave()
        self._following.close()

    def _leave(self) -> None:
        """It is closed and empty, and its strategy may be given to another pool."""
        with self._changed:
            self._closed = True
            for instance in self._there.values():
                self.strategy.left(instance)
            self._there.clear()
            del _serving[id(self.strategy)]
            self._changed.notify_all()

    def _take(self, event: InstanceEvent) -> None:
        instance = event.instance
        with self._changed:
            if self._closed:
                return
            if event.kind == "left":
                self._there.pop(instance.key, None)
                self.strategy.left(instance)
                return
            self._there[instance.key] = instance
            if event.kind == "joined":
                self.strategy.joined(instance)
            else:
                self.strategy.changed(instance)
            self._changed.notify_all()

    def _wait_for(self, pick: Callable[[], ServiceInstance | None], wait_s: float | Forever) -> ServiceInstance:
        limit_s = check_wait(wait_s)
        until = inf if limit_s is None else time.monotonic() + limit_s
        while not self._closed:
            instance = pick()
            if instance is not None:
                return instance
            left_s = until - time.monotonic()
            if left_s <= 0:
                break
            self._changed.wait(min(left_s, threading.TIMEOUT_MAX))
        raise NoInstanceError(self._why_none(limit_s))

    def _why_none(self, wait_s: float | None) -> str:
        if self._closed:
            return f"the pool of {self._service!r} is closed: make a new one"
        waited = f" after {wait_s:g} s" if wait_s else ""
        if not self._there:
            return f"there is no instance of {self._service!r}{waited}: start one, or wait for longer"
        return f"of {len(self._there)} instances of {self._service!r} none may be picked{waited}: all are avoided, or not healthy"
