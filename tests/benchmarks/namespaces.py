"""A LAN in one machine: hosts are network namespaces, on a bridge that lives in a namespace of its own.

Nothing touches the machine's own network. `with Network(10) as lan:` makes it all; leaving the block, however that
happens, ends every process that lives in these namespaces and removes them. Needs root and iproute2.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

GONE_LIMIT_S = 5.0
UP_LIMIT_S = 5.0


class Network:
    """Hosts 1 to `hosts`, each with eth0 (10.77.0.<number>/24) and lo, on one switch."""

    def __init__(self, hosts: int) -> None:
        self.hosts = range(1, hosts + 1)
        self._prefix = f"nwb{os.getpid()}"
        self._switch = f"{self._prefix}-lan"
        self._made: list[str] = []
        self._directory = Path(tempfile.mkdtemp(prefix=f"{self._prefix}-"))
        self._sessions = 0

    def __enter__(self) -> Network:
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.kill_all()
        while self._made:
            _ip("netns", "del", self._made.pop())
        shutil.rmtree(self._directory, ignore_errors=True)

    # --- what a host is ---

    def address(self, host: int) -> str:
        return f"10.77.0.{host}"

    def command(self, host: int, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` on a host; the process that it becomes is argv's own."""
        return ["ip", "netns", "exec", self._name(host), *argv]

    def runtime_dir(self, host: int) -> str:
        """A host's own runtime directory, a new one after each `kill_all` of anybody."""
        path = self._directory / f"{self._sessions}-{host}"
        path.mkdir(mode=0o700, exist_ok=True)
        return str(path)

    def log(self, host: int) -> Path:
        """Where a host's programs write their complaints."""
        return self._directory / f"{host}.log"

    # --- what happens to it ---

    def pull(self, host: int) -> None:
        """Pull the cable out of the switch."""
        _ip("-n", self._switch, "link", "set", f"port{host}", "down")

    def plug(self, host: int) -> None:
        _ip("-n", self._switch, "link", "set", f"port{host}", "up")
        self._wait_up(host)

    def sent_bytes(self, host: int) -> int:
        """What a host has sent so far, Ethernet headers included."""
        text = _ip("-n", self._name(host), "-s", "-j", "link", "show", "eth0")
        sent: int = json.loads(text)[0]["stats64"]["tx"]["bytes"]
        return sent

    def processes(self, host: int) -> list[int]:
        return [int(pid) for pid in _ip("netns", "pids", self._name(host)).split()]

    def kill_all(self, hosts: Sequence[int] | None = None) -> None:
        """End all that runs on the hosts (all of them), with -9, so that the next measurement starts afresh."""
        names = [name for name in self._made if hosts is None or name in map(self._name, hosts)]
        until = time.monotonic() + GONE_LIMIT_S
        while left := [int(pid) for name in names for pid in _ip("netns", "pids", name).split()]:
            if time.monotonic() > until:
                raise RuntimeError(f"processes {left} do not end")
            for pid in left:
                _kill(pid)
            time.sleep(0.01)
        self._sessions += 1

    # --- inside ---

    def _name(self, host: int) -> str:
        return f"{self._prefix}-{host}"

    def _make(self) -> None:
        self._add(self._switch)
        _ip("-n", self._switch, "link", "add", "switch", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
        _ip("-n", self._switch, "link", "set", "switch", "up")
        for host in self.hosts:
            self._add_host(host)
        for host in self.hosts:
            self._wait_up(host)

    def _wait_up(self, host: int) -> None:
        """Until the kernel has taken note of the cable, up to a second later; before, it drops what is sent."""
        until = time.monotonic() + UP_LIMIT_S
        while json.loads(_ip("-n", self._name(host), "-j", "link", "show", "eth0"))[0]["operstate"] != "UP":
            if time.monotonic() > until:
                raise RuntimeError(f"the link of host {host} does not come up")
            time.sleep(0.02)

    def _add(self, name: str) -> None:
        _ip("netns", "add", name)
        self._made.append(name)
        # No router solicitations and the like, so that what a host sends is the library's.
        _run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        _run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")

    def _add_host(self, host: int) -> None:
        name, port = self._name(host), f"port{host}"
        self._add(name)
        _ip("-n", self._switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("-n", self._switch, "link", "set", port, "master", "switch", "up")
        _ip("-n", name, "address", "add", f"{self.address(host)}/24", "broadcast", "+", "dev", "eth0")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "route", "add", "default", "via", "10.77.0.254", "dev", "eth0")


def _ip(*arguments: str) -> str:
    return _run("ip", *arguments)


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it ended by itself in the meantime
