"""The journal: what this node says, name by name, each with the version at which it last changed.

The version goes up by one with each change. From any version on, the journal tells what is different now: that is what
a change datagram carries, whether it tells of one new advert or of all there are. Telling costs what is told, whatever
else the journal holds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from .. import config
from .advert import Advert

SLACK: Final = 64
"""Lines that may be out of date, beyond as many as there are current ones, before the roll is written afresh."""


class Line(Struct, frozen=True):
    name: str
    version: int
    advert: Advert | None
    """None: the name is gone (a tombstone)."""
    written_at: float


class Journal:
    def __init__(self) -> None:
        self.version = 0
        self.horizon = 0
        """The highest version among the tombstones thrown away."""
        self.count = 0
        """Names that are there now."""
        self._lines: dict[str, Line] = {}
        """What is said now, by name."""
        self._roll: list[Line] = []
        """All lines in the order of their versions, among them some that a later line of the name made void."""
        self._tombstones: deque[tuple[str, int]] = deque()
        self._lives: Counter[float] = Counter()
        """How many adverts there are of each time to live."""

    def write(self, name: str, advert: Advert | None, now: float) -> None:
        """A name says something new, or (None) nothing any more. What does not travel is no news."""
        old = self._lines.get(name)
        if old is not None and old.advert is not None and advert is not None and advert.travels_like(old.advert):
            return
        if old is not None and old.advert is not None:
            self._count(old.advert, -1)
        self.version += 1
        line = self._lines[name] = Line(name, self.version, advert, now)
        self._roll.append(line)
        if advert is not None:
            self._count(advert, 1)
        else:
            self._tombstones.append((name, self.version))
            while len(self._tombstones) > config.MAX_TOMBSTONES:
                self._drop_tombstone(*self._tombstones.popleft())
        if len(self._roll) > 2 * len(self._lines) + SLACK:
            self._roll = [line for line in self._roll if self._is_current(line)]

    def turn_page(self) -> None:
        """A new version with nothing changed, for news about the node itself."""
        self.version += 1

    def since(self, version: int, until: int) -> Iterator[Line]:
        """The lines after a version, up to another, oldest first."""
        roll = self._roll
        for place in range(bisect_right(roll, version, key=_version), len(roll)):
            line = roll[place]
            if line.version > until:
                return
            if self._is_current(line):
                yield line

    def version_before(self, written_at: float, most: int) -> int:
        """The version after which all was written since then, `most` lines at most."""
        count = 0
        for line in reversed(self._roll):
            if line.written_at < written_at or count == most:
                return line.version
            count += self._is_current(line)
        return 0

    def shortest_ttl_s(self) -> float:
        return min(self._lives, default=config.TTL_S)

    def _count(self, advert: Advert, by: int) -> None:
        self.count += by
        self._lives[advert.ttl_s] += by
        if not self._lives[advert.ttl_s]:
            del self._lives[advert.ttl_s]

    def _is_current(self, line: Line) -> bool:
        return self._lines.get(line.name) is line

    def _drop_tombstone(self, name: str, version: int) -> None:
        line = self._lines.get(name)
        if line is not None and line.version == version:
            del self._lines[name]
            self.horizon = version


def _version(line: Line) -> int:
    return line.version
