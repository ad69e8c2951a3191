"""NetworkZero: advertise, discover, discover_all. Only the first program on a host runs a beacon."""

from __future__ import annotations

import time
from collections.abc import Callable

import networkzero as nw0


class Host:
    def __init__(self, address: str) -> None:
        self._address = address
        nw0.discover("nobody", wait_for_s=0)  # starts the beacon

    def advertise(self, name: str) -> None:
        nw0.advertise(name, f"{self._address}:50001")

    def advertise_many(self, names: list[str]) -> None:
        for name in names:
            self.advertise(name)

    def find(self, name: str, wait_s: float) -> bool:
        return nw0.discover(name, wait_for_s=wait_s) is not None

    def wait_gone(self, name: str, wait_s: float) -> bool:
        return self._poll(lambda found: name not in found, wait_s)

    def wait_all(self, names: list[str], wait_s: float) -> bool:
        return self._poll(lambda found: found >= set(names), wait_s)

    def look_up(self, name: str) -> float:
        times = []
        for _ in range(20):
            began = time.perf_counter()
            found = nw0.discover(name)
            times.append(time.perf_counter() - began)
            if found is None:
                raise LookupError(name)
        return sorted(times)[len(times) // 2]

    def _poll(self, condition: Callable[[set[str]], bool], wait_s: float) -> bool:
        until = time.monotonic() + wait_s
        while time.monotonic() < until:
            if condition({name for name, _ in nw0.discover_all() or ()}):
                return True
        return False
