"""Real hosts with NetworkZero's programs and beacons with the link, in network namespaces: the ports are fixed, and what is

broadcast leaves by whatever network there is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from tests import networkzero_peer
from tests.machines import Machine, Program, wait_until
from tests.namespaces import Host, Network, run

PROMPT_S = 4.0
"""What is told at once arrives within so long, on a machine that is very busy; sooner than any lease ends."""
SHORT_S = 4.0
"""A time to live for NetworkZero's adverts, longer than its gaps of 2 s."""


def theirs(host: Host, python: str) -> Program:
    """A program of NetworkZero's on a host."""
    program = Program([*host.prefix, python, networkzero_peer.__file__], host.env)
    host.programs.append(program)
    return program


def a_host(network: Network, *lans: int) -> Host:
    """A host with a default route: NetworkZero broadcasts to 255.255.255.255, and ends when there is no way to it."""
    host = network.host(*lans)
    run("ip", "-n", host.namespace, "route", "add", "default", "via", f"10.77.{lans[0] if lans else 0}.254")
    return host


def with_link(network: Network, *lans: int) -> Host:
    """A host whose beacon has the link."""
    host = a_host(network, *lans)
    start_beacon(host)
    return host


def start_beacon(machine: Machine) -> None:
    machine.start("beacon", "--networkzero")
    wait_until(lambda: machine.command("status").returncode == 0, "a beacon")


def link(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = machine.status()["networkzero"]
    return found


def holds(ask: Callable[[], Any], what: str, for_s: float) -> None:
    """Something stays true for so long."""
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        assert ask(), what
        time.sleep(0.02)


class Watching:
    """`nwdisco watch` on a host: what it has printed."""

    def __init__(self, machine: Machine) -> None:
        machine.call("discover_all")  # its beacon, and the directory for the file
        self._path = machine.runtime_dir / "watch"
        command = [*machine.prefix, sys.executable, "-m", "nwdisco", "watch", "--json"]
        with self._path.open("w") as output:
            machine.processes.append(subprocess.Popen(command, env=machine.env, stdout=output, text=True))

    def events(self, name: str) -> list[tuple[str, str]]:
        lines = [json.loads(line) for line in self._path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [(line["event"], line["address"]) for line in lines if line["name"] == name]


class Listener:
    """Hears what is broadcast on a host, beside whoever has NetworkZero's port there: from the packets themselves."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def sources_of(self, name: str, for_s: float) -> list[str]:
        """The IPs that told an advert within the next seconds."""
        code = (
            "import json, socket, sys, time\n"
            "end = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))\n"
            "until = time.monotonic() + float(sys.argv[2])\n"
            "found = []\n"
            "while (left := until - time.monotonic()) > 0:\n"
            "    end.settimeout(left)\n"
            "    try:\n"
            "        packet = end.recv(2048)\n"
            "    except TimeoutError:\n"
            "        break\n"
            "    if packet[9] == 17 and packet[22:24] == (9999).to_bytes(2, 'big'):\n"
            "        if json.loads(packet[28:])[0] == sys.argv[1]:\n"
            "            found.append(socket.inet_ntoa(packet[12:16]))\n"
            "print(json.dumps(found))\n"
        )
        command = [*self._host.prefix, sys.executable, "-c", code, name, str(for_s)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        found: list[str] = json.loads(done.stdout)
        return found
