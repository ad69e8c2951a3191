"""Real programs and beacons for the tests: a machine is a place to run them, with a beacon and a network of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

AGENT = Path(__file__).with_name("agent.py")
DEADLINE_S = 20.0
"""How long a test waits for what must happen; what happens sooner is not slowed by it."""


def wait_until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """The condition's first true value; fails with `what` and its last value at the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what}: not within {deadline_s} s, last seen: {value!r}"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Failed(Exception):
    """A call in an agent raised: `kind` is the exception's class."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


class Program:
    """A real Python program that calls nwdisco's verbs as it is told (tests/agent.py)."""

    def __init__(self, command: Sequence[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid: int = self._read()["pid"]

    def begin(self, verb: str, *args: Any, **kwargs: Any) -> None:
        """Start a call; `end` gives its result."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([verb, args, kwargs]) + "\n")
        self.process.stdin.flush()

    def end(self) -> Any:
        answer = self._read()
        if "error" in answer:
            raise Failed(answer["error"], answer["message"])
        return answer["value"]

    def call(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        self.begin(verb, *args, **kwargs)
        return self.end()

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def finish(self) -> int:
        """Let the program come to its normal end; its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        """End it in any case."""
        self.process.kill()
        self.process.wait(DEADLINE_S)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise EOFError(f"the program ended, with status {self.process.wait(DEADLINE_S)}")
        return json.loads(line)


class Machine:
    """Where programs run and find one beacon. `prefix` is put before each command."""

    def __init__(self, runtime_dir: Path, prefix: Sequence[str] = (), **env: str) -> None:
        self.prefix = tuple(prefix)
        self.runtime_dir = runtime_dir
        kept = {name: value for name, value in os.environ.items() if not name.startswith("NWDISCO_")}
        self.env = {**kept, "NWDISCO_RUNTIME_DIR": str(runtime_dir), "NWDISCO_SHIM": "none", **env}
        self.programs: list[Program] = []
        self.processes: list[subprocess.Popen[str]] = []

    def program(self) -> Program:
        program = Program([*self.prefix, sys.executable, str(AGENT)], self.env)
        self.programs.append(program)
        return program

    def call(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        """One call in a program of its own."""
        program = self.program()
        try:
            return program.call(verb, *args, **kwargs)
        finally:
            program.finish()

    def python(self, code: str, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [*self.prefix, sys.executable, "-c", code]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60, **options)

    def command(self, *args: str) -> subprocess.CompletedProcess[str]:
        """The `nwdisco` command, to its end."""
        command = [*self.prefix, sys.executable, "-m", "nwdisco", *args]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60)

    def start(self, *args: str) -> subprocess.Popen[str]:
        """The `nwdisco` command, left running."""
        process = subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "nwdisco", *args],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def status(self) -> dict[str, Any]:
        done = self.command("status", "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def beacon_pid(self) -> int:
        pid: int = self.status()["pid"]
        return pid

    def names(self) -> list[str]:
        return [name for name, _ in self.call("discover_all")]

    def close(self) -> None:
        for program in self.programs:
            program.close()
        for process in self.processes:
            process.kill()
            process.communicate()
        for lock in self.runtime_dir.glob("beacon*.lock"):  # one for each room
            _end_beacon(lock)


def _end_beacon(lock: Path) -> None:
    """End the beacon that holds a lock, if one does."""
    if not lock.read_text().strip():
        return
    pid = int(lock.read_text())
    if alive(pid) and b"nwdisco" in Path(f"/proc/{pid}/cmdline").read_bytes():
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not alive(pid), "the beacon's end")
