"""What is due when: the pure core's alarm clock. Nothing here waits; the driver looks at `due` and calls `run`."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count


class Timers:
    def __init__(self) -> None:
        self.due: float | None = None
        """When the next action is due, on the caller's clock; None when nothing is planned."""
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()

    def at(self, due: float, action: Callable[[float], None]) -> None:
        """Plan a call of `action(now)`. There is no cancelling: an action looks whether it is still wanted."""
        heappush(self._heap, (due, next(self._order), action))
        self.due = self._heap[0][0]

    def run(self, now: float) -> None:
        """Call all that is due by now; what these plan for now or earlier waits for the next run."""
        heap = self._heap
        ready = []
        while heap and heap[0][0] <= now:
            ready.append(heappop(heap)[2])
        self.due = heap[0][0] if heap else None
        for action in ready:
            action(now)
