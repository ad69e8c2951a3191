"""What a library's callbacks have told so far: names and addresses, and threads that wait for them to change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable


class Board:
    def __init__(self) -> None:
        self._addresses: dict[str, str] = {}
        self._changed = threading.Condition()

    def put(self, addresses: Iterable[tuple[str, str]]) -> None:
        with self._changed:
            self._addresses.update(addresses)
            self._changed.notify_all()

    def drop(self, names: Iterable[str]) -> None:
        with self._changed:
            for name in names:
                self._addresses.pop(name, None)
            self._changed.notify_all()

    def find(self, name: str, wait_s: float) -> bool:
        return self._wait(lambda: name in self._addresses, wait_s)

    def wait_gone(self, name: str, wait_s: float) -> bool:
        return self._wait(lambda: name not in self._addresses, wait_s)

    def wait_all(self, names: list[str], wait_s: float) -> bool:
        return self._wait(lambda: self._addresses.keys() >= set(names), wait_s)

    def _wait(self, condition: Callable[[], bool], wait_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, wait_s)
