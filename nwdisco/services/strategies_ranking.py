"""A ranking: keys by priority, of which the first is found, and any is moved, in O(log n)."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from .instance import InstanceKey

SLACK = 64
"""The heap is rebuilt when it is twice as long as the table, and this much more."""

Priority = tuple[float, float, float]
"""The least comes first."""


class Ranking:
    def __init__(self) -> None:
        self._priorities: dict[InstanceKey, Priority] = {}
        self._heap: list[tuple[Priority, InstanceKey]] = []
        """With entries that no longer count: a key's current priority is the table's."""

    def set(self, key: InstanceKey, priority: Priority) -> None:
        if self._priorities.get(key) == priority:
            return
        self._priorities[key] = priority
        heappush(self._heap, (priority, key))
        if len(self._heap) > 2 * len(self._priorities) + SLACK:
            self._heap = [(priority, key) for key, priority in self._priorities.items()]
            heapify(self._heap)

    def remove(self, key: InstanceKey) -> None:
        del self._priorities[key]

    def first(self, is_wanted: Callable[[InstanceKey], bool]) -> InstanceKey | None:
        """The first that is wanted."""
        set_aside = []
        found = None
        while self._heap:
            priority, key = self._heap[0]
            if self._priorities.get(key) == priority:
                if is_wanted(key):
                    found = key
                    break
                set_aside.append((priority, key))
            heappop(self._heap)
        for entry in set_aside:
            heappush(self._heap, entry)
        return found
