"""A program that looks again and again what is listed, as one that uses nwdisco would, and says what it saw.

Told by lines on its standard input, as tests/agent.py is.
"""

from __future__ import annotations

import json
import os
import sys
import time
from statistics import median
from typing import Any

import nwdisco as nw0

LIST_EVERY_S = 0.05
PAUSE_S = 0.002
"""Between two questions."""


def watch_over(name: str, wanted: list[str], false: str, seconds: float) -> dict[str, Any]:
    """Ask for one name all the time, and for all now and then: how long it took (ms), what was missing, what was false."""
    took_ms: list[float] = []
    missing: set[str] = set()
    made_up = lists = most = 0
    list_at = 0.0
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        if now >= list_at:
            listed = {advert for advert, _ in nw0.discover_all()}
            missing |= set(wanted) - listed
            made_up = max(made_up, sum(advert.startswith(false) for advert in listed))
            most = max(most, len(listed))
            lists, list_at = lists + 1, time.monotonic() + LIST_EVERY_S
        began_at = time.perf_counter()
        if nw0.discover(name, 0) is None:
            missing.add(name)
        took_ms.append((time.perf_counter() - began_at) * 1000)
        time.sleep(PAUSE_S)
    took_ms.sort()
    return {
        "questions": len(took_ms),
        "median_ms": round(median(took_ms), 3),
        "p99_ms": round(took_ms[len(took_ms) * 99 // 100], 3),
        "most_ms": round(took_ms[-1], 3),
        "lists": lists,
        "missing": sorted(missing),
        "false": made_up,
        "listed": most,
    }


def main() -> None:
    print(json.dumps({"pid": os.getpid()}), flush=True)
    for line in sys.stdin:
        _, args, kwargs = json.loads(line)
        answer: dict[str, Any]
        try:
            answer = {"value": watch_over(*args, **kwargs)}
        except Exception as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
