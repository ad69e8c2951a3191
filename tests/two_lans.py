"""LANs that multicast does not leave, a router between them, and an etcd on the router: for tests and benchmarks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

from tests.etcd import Etcd
from tests.machines import Program, wait_until
from tests.namespaces import Host, Network, run
from tests.shim import status_of

LANS = (0, 1, 2)
IN_STEP_S = 10.0
"""Within so long all must be in step again (see what a test prints for how long it took)."""
SHIM = "127.0.0.1:65432"
ASK_SHIM = """
import socket, sys
with socket.create_connection(("127.0.0.1", 65432), 20) as wire:
    wire.sendall(sys.stdin.buffer.read())
    wire.shutdown(socket.SHUT_WR)
    sys.stdout.buffer.write(wire.makefile("rb").read())
"""


class Lans:
    """The router has a cable to each, forwards between them, and runs the etcd."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.router = network.host(*LANS)
        run(*self.router.prefix, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.etcd = Etcd(self.router.ip(0), self.router.prefix, listen="0.0.0.0")

    def host(self, *lans: int, is_bare: bool = False, **env: str) -> Host:
        """A host on these LANs, which reaches the others by the router; its beacon is to use etcd, unless it is bare."""
        host = self.network.host(*lans)
        self.set_route(host, lans[0])
        host.env |= env if is_bare else {"NWDISCO_ETCD": self.etcd.address, **env}
        return host

    def set_route(self, host: Host, lan: int) -> None:
        run("ip", "-n", host.namespace, "route", "replace", "default", "via", self.router.ip(lan))

    def close(self) -> None:
        self.etcd.close()


def ready(*hosts: Host) -> list[Program]:
    """A program on each host, which has a beacon then that knows the others."""
    programs = [host.program() for host in hosts]
    for program in programs:
        program.begin("discover_all")
    for program in programs:
        program.end()
    return programs


def names(program: Program) -> list[str]:
    return [name for name, _ in program.call("discover_all")]


def lists(program: Program, wanted: set[str], why: str, deadline_s: float = IN_STEP_S) -> float:
    """Until a program lists exactly these, each once; how long it took."""
    began_at = time.monotonic()
    wait_until(lambda: names(program) == sorted(wanted), why, deadline_s)
    return time.monotonic() - began_at


def finds(program: Program, name: str, address: str, why: str) -> None:
    """Until a program finds this address."""
    wait_until(lambda: program.call("discover", name, 0) == address, why, IN_STEP_S)


def link(host: Host) -> dict[str, Any]:
    """What the status of a host's beacon says of etcd."""
    status = status_of(host)
    assert status is not None, "no beacon"
    found: dict[str, Any] = status["etcd"]
    return found


def neighbours(host: Host) -> int:
    """How many nodes a host's beacon hears on its LANs."""
    status = status_of(host)
    assert status is not None, "no beacon"
    return len(status["nodes"])


def ask_shim(host: Host, request: bytes) -> bytes:
    """What the shim on a host answers a client there."""
    done = subprocess.run(
        [*host.prefix, sys.executable, "-c", ASK_SHIM], input=request, capture_output=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask_shim_in_a_line(host: Host, **request: Any) -> Any:
    return json.loads(ask_shim(host, json.dumps(request).encode() + b"\n"))


class Etcdctl:
    """A program on a host that knows nothing but etcd: Debian's etcdctl."""

    def __init__(self, host: Host, etcd: Etcd) -> None:
        self._command = [*host.prefix, "etcdctl", "--endpoints", etcd.address]
        self._env = {**os.environ, "ETCDCTL_API": "3"}
        self._running: list[subprocess.Popen[str]] = []

    def run(self, *arguments: str) -> str:
        done = subprocess.run([*self._command, *arguments], capture_output=True, text=True, timeout=20, env=self._env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([*self._command, *arguments], stdout=subprocess.PIPE, text=True, env=self._env)
        self._running.append(process)
        return process

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.communicate()
