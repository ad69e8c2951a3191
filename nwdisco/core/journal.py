"""The journal: what this node says, name by name, each with the version at which it last changed.

The version goes up by one with each change. From any version on, the journal tells what is different now: that is what
a change datagram carries, whether it tells of one new advert or of all there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import takewhile

from msgspec import Struct

from .. import config
from .advert import Advert


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
        self._tombstones: deque[tuple[str, int]] = deque()

    def write(self, name: str, advert: Advert | None, now: float) -> None:
        """A name says something new, or (None) nothing any more."""
        old = self._lines.pop(name, None)
        self.count += (advert is not None) - (old is not None and old.advert is not None)
        self.version += 1
        self._lines[name] = Line(name, self.version, advert, now)
        if advert is None:
            self._tombstones.append((name, self.version))
            while len(self._tombstones) > config.MAX_TOMBSTONES:
                self._drop_tombstone(*self._tombstones.popleft())

    def turn_page(self) -> None:
        """A new version with nothing changed, for news about the node itself."""
        self.version += 1

    def since(self, version: int, until: int | None = None) -> list[Line]:
        """The lines after a version (up to another), oldest first; the cost is that of the lines after it."""
        lines = list(takewhile(lambda line: line.version > version, self._newest_first()))
        if until is not None:
            lines = [line for line in lines if line.version <= until]
        if version == 0:
            lines = [line for line in lines if line.advert is not None]
        lines.reverse()
        return lines

    def version_before(self, written_at: float, most: int) -> int:
        """The version after which all was written since then, `most` lines at most."""
        for count, line in enumerate(self._newest_first()):
            if line.written_at < written_at or count == most:
                return line.version
        return 0

    def shortest_ttl_s(self) -> float:
        return min((line.advert.ttl_s for line in self._lines.values() if line.advert), default=config.TTL_S)

    def _newest_first(self) -> Iterator[Line]:
        return reversed(self._lines.values())

    def _drop_tombstone(self, name: str, version: int) -> None:
        line = self._lines.get(name)
        if line is not None and line.version == version:
            del self._lines[name]
            self.horizon = version
