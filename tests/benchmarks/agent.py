"""The program that runs on a simulated host: does what the benchmark asks for with one library, and says when.

A request is a line of JSON on standard input, an answer one on standard output. Times are of the monotonic clock,
which is the same for all processes of one machine, whatever their namespace.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
import traceback
from typing import Any, Protocol


class Host(Protocol):
    """What an adapter in peers/ provides. The constructor starts the library on a host with this address."""

    def __init__(self, address: str) -> None: ...
    def advertise(self, name: str) -> None: ...
    def advertise_many(self, names: list[str]) -> None: ...
    def find(self, name: str, wait_s: float) -> bool: ...
    def wait_gone(self, name: str, wait_s: float) -> bool: ...
    def wait_all(self, names: list[str], wait_s: float) -> bool: ...
    def look_up(self, name: str) -> float:
        """Seconds that finding a known name takes, the median of many calls."""


WAITING = ("find", "wait_gone", "wait_all")


def spawn(argv: list[str]) -> float:
    """Seconds from the start of a process to the first line that it prints."""
    began = time.monotonic()
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    if process.stdout is None:
        raise RuntimeError("no pipe")
    line = process.stdout.readline()
    took_s = time.monotonic() - began
    if line.strip() in (b"", b"None"):
        process.kill()
        raise LookupError(f"{argv} found nothing")
    return took_s


def main() -> None:
    library, address = sys.argv[1:]
    # What a library prints is not for the benchmark.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    host: Host | None = None
    if library != "none":
        module = importlib.import_module(f"tests.benchmarks.peers.with_{library}")
        host = module.Host(address)
    answer(ready=True)
    for line in sys.stdin:
        request = json.loads(line)
        verb, arguments = request["do"], request["with"]
        action = spawn if verb == "spawn" else getattr(host, verb)
        if verb in WAITING:
            answer(waiting=True)
        began_at = time.monotonic()
        try:
            result = action(*arguments)
        except Exception:
            answer(error=traceback.format_exc())
            continue
        answer(result=result, began_at=began_at, ended_at=time.monotonic())
    os._exit(0)  # some libraries take seconds to close, which nobody measures


if __name__ == "__main__":
    main()
