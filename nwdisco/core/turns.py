"""Turns: what takes long is done a little at a time, so that who asks meanwhile waits for one turn and not for all of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator


class Turns:
    def __init__(self) -> None:
        self._jobs: deque[Iterator[int]] = deque()

    @property
    def unfinished(self) -> bool:
        return bool(self._jobs)

    def begin(self, job: Iterator[int]) -> None:
        """A job yields after each piece of its work how many steps that took. It looks whether it is still wanted."""
        self._jobs.append(job)

    def take(self, steps: int) -> None:
        """Go on with every job, a piece of each, then the next of each, until so many steps are done."""
        while self._jobs and steps > 0:
            job = self._jobs.popleft()
            took = next(job, None)
            if took is not None:
                steps -= took
                self._jobs.append(job)
