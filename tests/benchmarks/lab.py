"""The laboratory: starts agents on the hosts of a network, talks to them, and clears everything away again."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .namespaces import Network

ROOT = Path(__file__).resolve().parents[2]
COLD = Path(__file__).resolve().parent / "cold"
START_LIMIT_S = 30.0
CALL_LIMIT_S = 30.0
WARM_LIMIT_S = 30.0


class BenchmarkError(Exception):
    """A measurement that could not be made, and why."""


class Answer(NamedTuple):
    result: Any
    began_at: float
    ended_at: float


class Agent:
    """One program on one host, with one library."""

    def __init__(self, network: Network, host: int, library: str, python: str) -> None:
        self.name = f"{library} on host {host}"
        self._log = network.log(host)
        module = ("-m", "tests.benchmarks.agent", library, network.address(host))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                network.command(host, (python, *module)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env=environment(network, host),
            )
        self._text = b""
        self._read(START_LIMIT_S)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, verb: str, *arguments: Any, wait_s: float = CALL_LIMIT_S) -> Answer:
        """Have it done, and wait for the answer."""
        self.begin(verb, *arguments)
        return self.end(wait_s)

    def begin(self, verb: str, *arguments: Any) -> None:
        request = json.dumps({"do": verb, "with": arguments}).encode() + b"\n"
        os.write(self._stdin(), request)

    def begin_waiting(self, verb: str, *arguments: Any) -> None:
        """Have it wait for something; when this returns, it is deep in the library's call."""
        self.begin(verb, *arguments)
        time.sleep(random.uniform(0.3, 0.6))  # not in step with anybody's timer

    def end(self, wait_s: float) -> Answer:
        until = time.monotonic() + wait_s
        while "result" not in (fields := self._read(until - time.monotonic())):
            pass
        return Answer(fields["result"], fields["began_at"], fields["ended_at"])

    def kill(self) -> float:
        """Kill it with -9; when that was."""
        at = time.monotonic()
        self._process.send_signal(signal.SIGKILL)
        return at

    def close(self) -> None:
        self._process.kill()
        self._process.wait(5)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _stdin(self) -> int:
        if self._process.stdin is None:
            raise BenchmarkError("no pipe")
        return self._process.stdin.fileno()

    def _read(self, wait_s: float) -> dict[str, Any]:
        """The next line that it says."""
        if self._process.stdout is None:
            raise BenchmarkError("no pipe")
        until = time.monotonic() + wait_s
        while b"\n" not in self._text:
            readable, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
            if not readable:
                raise BenchmarkError(f"{self.name}: no answer in {wait_s:.0f} s\n{self.complaints()}")
            data = os.read(self._process.stdout.fileno(), 65_536)
            if not data:
                raise BenchmarkError(f"{self.name}: ended\n{self.complaints()}")
            self._text += data
        line, _, self._text = self._text.partition(b"\n")
        fields: dict[str, Any] = json.loads(line)
        if "error" in fields:
            raise BenchmarkError(f"{self.name}: {fields['error']}")
        return fields

    def complaints(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


class Lab:
    def __init__(self, network: Network, pythons: dict[str, str]) -> None:
        """`pythons`: the interpreter of each library, and of the agent without one, "none"."""
        self.network = network
        self._pythons = pythons
        self._agents: list[Agent] = []

    def python(self, library: str) -> str:
        return self._pythons[library]

    def agent(self, host: int, library: str) -> Agent:
        agent = Agent(self.network, host, library, self._pythons[library])
        self._agents.append(agent)
        return agent

    def pair(self, library: str) -> tuple[Agent, Agent]:
        """Agents on hosts 1 and 2 that have found each other: 2 has advertised "warm-up", 1 nothing yet."""
        a, b = self.agent(1, library), self.agent(2, library)
        a.begin_waiting("find", "warm-up", WARM_LIMIT_S)
        b.ask("advertise", "warm-up")
        if not a.end(WARM_LIMIT_S + 5).result:
            raise BenchmarkError(f"{a.name} does not find host 2\n{a.complaints()}{b.complaints()}")
        return a, b

    def spawner(self, host: int) -> Agent:
        """An agent that starts other programs and times them."""
        return self.agent(host, "none")

    def cold(self, library: str, *arguments: str) -> list[str]:
        """The command of a library's cold start."""
        return [self._pythons[library], str(COLD / f"with_{library}.py"), *arguments]

    def clear(self, hosts: Sequence[int] | None = None) -> None:
        """End all that runs on these hosts (all of them)."""
        self.network.kill_all(hosts)
        if hosts is None:
            while self._agents:
                self._agents.pop().close()


def environment(network: Network, host: int) -> dict[str, str]:
    """A host's environment: the caller's, with nwdisco's own settings at their defaults."""
    mine = {key: value for key, value in os.environ.items() if not key.startswith("NWDISCO_")}
    return mine | {"NWDISCO_RUNTIME_DIR": network.runtime_dir(host), "PYTHONPATH": str(ROOT)}


def memory_mb(pid: int) -> float:
    """A process's resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise BenchmarkError(f"process {pid} has ended")


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
