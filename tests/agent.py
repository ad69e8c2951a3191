"""A program that calls nwdisco's verbs as lines on its standard input tell it: [verb, args, kwargs]; answers are JSON lines."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

import nwdisco as nw0

watches: list[nw0.Watch] = []


def watch(group: str | None = None, **options: Any) -> None:
    watches.append(nw0.watch(group, **options))


def next_event() -> list[Any] | None:
    event = next(watches[0], None)
    return event and [event.kind, event.name, event.address]


def discover_timed(name: str, wait_for_s: float) -> tuple[str | None, float]:
    """The address and when it was there, on the clock that all processes of the machine share."""
    return nw0.discover(name, wait_for_s), time.monotonic()


def advertise_timed(name: str) -> tuple[str, float]:
    began_at = time.monotonic()
    return nw0.advertise(name), began_at


def discover_in_threads(name: str, threads: int, wait_for_s: float) -> list[str | None]:
    found: list[str | None] = []
    waiting = [threading.Thread(target=lambda: found.append(nw0.discover(name, wait_for_s))) for _ in range(threads)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    return found


def fork_and_advertise(name: str) -> int:
    """A child that advertises for itself and stays; its process id."""
    ready, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        nw0.advertise(name)
        os.write(report, b"1")
        threading.Event().wait()
    os.read(ready, 1)
    return pid


def fork_and_exit() -> int:
    """A child that exits in the ordinary way, with all its exit handlers; its exit status."""
    pid = os.fork()
    if pid == 0:
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def reap(pid: int) -> None:
    os.waitpid(pid, 0)


def _in_child(name: str, ready: Any, over: Any) -> None:
    nw0.advertise(name)
    ready.set()
    over.wait()


def multiprocess(name: str) -> None:
    """A child by multiprocessing that advertises for itself; gone with `end_multiprocess`."""
    import multiprocessing

    context = multiprocessing.get_context("fork")
    ready, over = context.Event(), context.Event()
    child = context.Process(target=_in_child, args=(name, ready, over))
    child.start()
    ready.wait()
    children.append((child, over))


def end_multiprocess() -> None:
    child, over = children.pop()
    over.set()
    child.join()


def open_file_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


children: list[Any] = []

VERBS: dict[str, Any] = {
    "advertise": nw0.advertise,
    "unadvertise": nw0.unadvertise,
    "discover": nw0.discover,
    "discover_all": nw0.discover_all,
    "discover_group": nw0.discover_group,
    **{
        verb.__name__: verb
        for verb in (
            watch,
            next_event,
            discover_timed,
            advertise_timed,
            discover_in_threads,
            fork_and_advertise,
            fork_and_exit,
            reap,
            multiprocess,
            end_multiprocess,
            open_file_descriptors,
        )
    },
}


def main() -> None:
    print(json.dumps({"pid": os.getpid()}), flush=True)
    for line in sys.stdin:
        verb, args, kwargs = json.loads(line)
        answer: dict[str, Any]
        try:
            answer = {"value": VERBS[verb](*args, **kwargs)}
        except Exception as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
