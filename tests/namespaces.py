"""Real hosts: network namespaces on a bridge, in a namespace of its own, all made for one test and removed after it."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

from tests.machines import Machine, wait_until

_numbers = itertools.count(1)


def why_not() -> str | None:
    """Why this machine cannot have such hosts; None when it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "nft"):
        if shutil.which(tool) is None:
            return f"network namespaces need the command {tool} (Debian: iproute2, nftables)"
    return None


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


class Network:
    """A switch (or several: `lan` 0, 1 ...) with hosts 10.77.LAN.NUMBER."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.name = f"nwd{os.getpid()}x{next(_numbers)}"
        self.switch = f"{self.name}-sw"
        self.hosts: list[Host] = []
        self._lans: set[int] = set()
        run("ip", "netns", "add", self.switch)

    def host(self, *lans: int, user: str = "") -> Host:
        """A host with a cable to each of the switches (to none with `lans` = -1)."""
        host = Host(self, len(self.hosts) + 1, user)
        self.hosts.append(host)
        for lan in lans or (0,):
            if lan >= 0:
                host.plug_in(lan)
        return host

    def add_lan(self, lan: int) -> None:
        if lan not in self._lans:
            self._lans.add(lan)
            bridge = f"br{lan}"
            run("ip", "-n", self.switch, "link", "add", bridge, "type", "bridge", "mcast_snooping", "0")
            run("ip", "-n", self.switch, "link", "set", bridge, "up")

    def close(self) -> None:
        with ExitStack() as ends:  # each, even if one fails
            ends.callback(run, "ip", "netns", "del", self.switch)
            for host in self.hosts:
                ends.callback(host.close)


class Host(Machine):
    def __init__(self, network: Network, number: int, user: str) -> None:
        self.network = network
        self.number = number
        self.namespace = f"{network.name}-{number}"
        super().__init__(network.place / f"h{number}", ("ip", "netns", "exec", self.namespace))
        run("ip", "netns", "add", self.namespace)
        run("ip", "-n", self.namespace, "link", "set", "lo", "up")

    def other_user(self, name: str) -> Machine:
        """Another user on the same host: another runtime directory, the same network."""
        return Machine(self.network.place / f"h{self.number}-{name}", self.prefix)

    def ip(self, lan: int = 0) -> str:
        return f"10.77.{lan}.{self.number}"

    def plug_in(self, lan: int) -> None:
        self.network.add_lan(lan)
        switch, port = self.network.switch, f"p{lan}-{self.number}"
        run(
            "ip",
            "link",
            "add",
            port,
            "netns",
            switch,
            "type",
            "veth",
            "peer",
            "name",
            f"eth{lan}",
            "netns",
            self.namespace,
        )
        run("ip", "-n", switch, "link", "set", port, "master", f"br{lan}", "up")
        run(
            "ip",
            "-n",
            self.namespace,
            "addr",
            "add",
            f"{self.ip(lan)}/24",
            "brd",
            f"10.77.{lan}.255",
            "dev",
            f"eth{lan}",
        )
        run("ip", "-n", self.namespace, "link", "set", f"eth{lan}", "up")

    def cable(self, plugged: bool, lan: int = 0) -> None:
        run("ip", "-n", self.network.switch, "link", "set", f"p{lan}-{self.number}", "up" if plugged else "down")

    def change_address(self, ip: str, lan: int = 0) -> None:
        device = f"eth{lan}"
        run("ip", "-n", self.namespace, "addr", "flush", "dev", device)
        run("ip", "-n", self.namespace, "addr", "add", f"{ip}/24", "brd", f"10.77.{lan}.255", "dev", device)

    def drop(self, rule: str) -> None:
        """Drop arriving datagrams that match an nftables rule."""
        nft = ("ip", "netns", "exec", self.namespace, "nft")
        run(*nft, "add table inet t; add chain inet t in { type filter hook input priority 0; }")
        run(*nft, f"add rule inet t in {rule} drop")

    def kill_beacon(self) -> None:
        os.kill(self.beacon_pid(), signal.SIGKILL)

    def close(self) -> None:
        super().close()
        for pid in run("ip", "netns", "pids", self.namespace).split():
            os.kill(int(pid), signal.SIGKILL)
        wait_until(lambda: not run("ip", "netns", "pids", self.namespace), "the end of a namespace's processes")
        run("ip", "netns", "del", self.namespace)
