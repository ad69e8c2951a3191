"""The `nwdisco` command for the tests: one that runs on, and what a command printed."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from typing import Any

from tests.machines import DEADLINE_S, Machine


class Running:
    """A command that runs on, and its output line by line."""

    def __init__(self, machine: Machine, *args: str) -> None:
        self.process = machine.start(*args)
        assert self.process.stdout is not None
        self._out = self.process.stdout.fileno()
        self._unread = b""

    def line(self) -> str:
        """The next line, as soon as the command has printed it."""
        deadline = time.monotonic() + DEADLINE_S
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._out], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no line within {DEADLINE_S} s, only {self._unread!r}"
            part = os.read(self._out, 65_536)
            assert part, (
                f"the command ended with status {self.process.wait(DEADLINE_S)}, its output with {self._unread!r}"
            )
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def end(self, number: int) -> int:
        """Send a signal; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()


def objects(text: str) -> list[dict[str, Any]]:
    """What `--json` printed: an object a line."""
    found = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(one, dict) for one in found), f"not an object a line: {text}"
    return found


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on standard error of a command that refused to do anything."""
    assert done.returncode == 2, done
    assert done.stdout == "", done
    lines = done.stderr.splitlines()
    assert len(lines) == 1, f"more than a line: {done.stderr}"
    assert lines[0].startswith("nwdisco: "), lines[0]
    return lines[0]
