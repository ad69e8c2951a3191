"""Programs that a test starts as a reader would, types to, and reads while they run. (Not of the cookbook: its tests' tool.)"""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.machines import DEADLINE_S, Machine, wait_until

_numbers = itertools.count(1)

BY_HAND = """
import runpy, sys, time
sleep = time.sleep
def by_hand(seconds):
    if sys._getframe(1).f_globals["__name__"] != "__main__":
        return sleep(seconds)  # nwdisco's own
    print(f"sleeps {seconds} s", flush=True)
    sys.stdin.readline()
time.sleep = by_hand
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a program whose own `time.sleep` lasts until the test wakes it, so that the test says what comes first."""


class Running:
    """A program, started on a machine. With `interactive`, as if typed into Python's prompt: it ends with its input."""

    def __init__(
        self, machine: Machine, path: Path, *args: str, interactive: bool = False, by_hand: bool = False, **env: str
    ) -> None:
        self.path = path
        place = machine.runtime_dir.parent
        number = next(_numbers)
        self._output, self._errors = place / f"{number}.out", place / f"{number}.err"
        options = ["-i"] if interactive else ["-c", BY_HAND] if by_hand else []
        with self._output.open("w") as output, self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [*machine.prefix, sys.executable, *options, str(path), *args],
                cwd=place,
                env={**machine.env, **env},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                text=True,
            )
        machine.processes.append(self.process)

    def lines(self) -> list[str]:
        """The whole lines that it has printed so far."""
        return self._output.read_text().split("\n")[:-1]

    def errors(self) -> str:
        return self._errors.read_text()

    def shows(self, pattern: str, after: int = 0) -> re.Match[str]:
        """Waits for a line like this (a regular expression for all of it), from line number `after` on; the match."""

        def found() -> re.Match[str] | None:
            over = self.process.poll() is not None
            for line in self.lines()[after:]:
                match = re.fullmatch(pattern, line)
                if match:
                    return match
            assert not over, f"{self.path.name} ended without a line {pattern!r}: {self}"
            return None

        try:
            match: re.Match[str] = wait_until(found, f"a line {pattern!r} of {self.path.name}")
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self}") from None
        return match

    def types(self, line: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def wakes(self) -> None:
        """Its sleep is over (`by_hand`)."""
        self.types()

    def ends_its_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdin = None

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        self.process.kill()

    def ends(self, status: int = 0) -> None:
        """Waits for its end, which must have this status."""
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.path.name} does not end: {self}") from None
        assert self.process.returncode == status, f"{self.path.name}: status {self.process.returncode}, {self}"

    def __str__(self) -> str:
        return f"it printed {self.lines()}, and as errors:\n{self.errors()}"
