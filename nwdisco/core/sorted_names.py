"""Names in order, in pieces of a bounded size: to add or remove one costs next to the same however many there are.

In one list of 200,000 names, each addition and removal moves half a megabyte: thousands of them hold everybody up.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from itertools import chain
from operator import itemgetter
from typing import Final

MOST: Final = 512
"""Names in a piece; with one more, it is cut in two."""
_first = itemgetter(0)


class SortedNames:
    def __init__(self) -> None:
        self._pieces: list[list[str]] = []
        """One after the other in the order of their names; none is empty."""

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._pieces)

    def add(self, name: str) -> None:
        """Of a name that is not there."""
        if not self._pieces:
            self._pieces.append([name])
            return
        place = self._place(name)
        piece = self._pieces[place]
        insort(piece, name)
        if len(piece) > MOST:
            self._pieces.insert(place + 1, piece[MOST // 2 :])
            del piece[MOST // 2 :]

    def remove(self, name: str) -> None:
        """Of a name that is there."""
        place = self._place(name)
        piece = self._pieces[place]
        del piece[bisect_left(piece, name)]
        if not piece:
            del self._pieces[place]

    def beginning_with(self, prefix: str) -> list[str]:
        return [name for piece, start, end in self._spans(prefix) for name in piece[start:end]]

    def count(self, prefix: str) -> int:
        """How many begin so, without a look at each."""
        return sum(end - start for _, start, end in self._spans(prefix))

    def _place(self, name: str) -> int:
        """The piece that a name belongs in."""
        return max(bisect_right(self._pieces, name, key=_first) - 1, 0)

    def _spans(self, prefix: str) -> Iterator[tuple[list[str], int, int]]:
        """Pieces, and where in them the names that begin so stand."""
        for place in range(self._place(prefix), len(self._pieces)):
            piece = self._pieces[place]
            start = bisect_left(piece, prefix)
            end = bisect_left(piece, True, start, key=lambda name: not name.startswith(prefix))
            yield piece, start, end
            if end < len(piece):
                return
