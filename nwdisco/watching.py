"""A watch for blocking programs: an iterator over events on a connection of its own."""

from __future__ import annotations

import time
from collections import deque

from .connection import ANSWER_LIMIT_S, Connection, Gone, refusal, stuck
from .results import Event, Seen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self


class Watch:
    """Iterate over it for events. It is at work from the moment it is made: nothing after that is missed."""

    def __init__(self, request: dict[str, Any], wait_s: float | None) -> None:
        self._request = request
        self._deadline = None if wait_s is None else time.monotonic() + wait_s
        self._seen = Seen()
        self._ready: deque[Event] = deque()
        self._closed = False
        self._connection: Connection | None = None
        self._connect()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        while self._closed or not self._ready:
            left_s = None if self._deadline is None else self._deadline - time.monotonic()
            if self._closed or (left_s is not None and left_s <= 0):
                self._end()
                raise StopIteration
            try:
                if self._connection is None:
                    self._connect()
                else:
                    self._take(left_s)
            except TimeoutError:
                continue
            except Gone:
                self._end()
            except BaseException:
                self._end()
                raise
        return self._ready.popleft()

    def close(self) -> None:
        """End it; an iteration under way in another thread ends too."""
        self._closed = True
        connection = self._connection
        if connection is not None:
            connection.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._end()

    def __del__(self) -> None:
        if getattr(self, "_connection", None) is not None:
            self._end()

    def _connect(self) -> None:
        self._connection = Connection.to_beacon()
        try:
            self._connection.send(self._request)
            self._take(ANSWER_LIMIT_S)
        except Gone:
            self._end()  # the next turn tries again
        except TimeoutError:
            self._end()
            raise stuck() from None
        except BaseException:
            self._end()
            raise

    def _take(self, limit_s: float | None) -> None:
        assert self._connection is not None
        message = self._connection.receive(limit_s)
        if "error" in message:
            raise refusal(message)
        self._ready.extend(self._seen.events(message))

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
