"""nwdisco, as its users call it: blocking calls, the beacon starts by itself."""

from __future__ import annotations

import time
from typing import Any

import nwdisco as nw0
from nwdisco.connection import call


class Host:
    def __init__(self, address: str) -> None:
        self._held: list[str] = []
        nw0.discover_all()

    def advertise(self, name: str) -> None:
        nw0.advertise(name)

    def advertise_many(self, names: list[str]) -> None:
        for name in names:
            nw0.advertise(name)

    def find(self, name: str, wait_s: float) -> bool:
        return nw0.discover(name, wait_for_s=wait_s) is not None

    def wait_gone(self, name: str, wait_s: float) -> bool:
        return any(event.kind == "left" and event.name == name for event in nw0.watch(wait_for_s=wait_s))

    def wait_all(self, names: list[str], wait_s: float) -> bool:
        missing = set(names)
        for event in nw0.watch(wait_for_s=wait_s):
            missing.discard(event.name)
            if not missing:
                return True
        return False

    def look_up(self, name: str) -> float:
        times = []
        for _ in range(2000):
            began = time.perf_counter()
            found = nw0.discover(name)
            times.append(time.perf_counter() - began)
            if found is None:
                raise LookupError(name)
        return sorted(times)[len(times) // 2]

    # --- for growth.py ---

    def look_up_group(self, group: str, members: int) -> float:
        times = []
        for _ in range(200):
            began = time.perf_counter()
            found = nw0.discover_group(group)
            times.append(time.perf_counter() - began)
            if len(found) != members:
                raise LookupError(f"{group} has {len(found)} members")
        return sorted(times)[len(times) // 2]

    def status(self) -> dict[str, Any]:
        return call({"do": "status"})
