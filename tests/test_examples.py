"""The examples, run as a reader would: real programs, on two hosts."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.namespaces import Host, Network

EXAMPLES = Path(__file__).parent.parent / "examples"


def start(host: Host, *command: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*host.prefix, sys.executable, str(EXAMPLES / command[0]), *command[1:]],
        env=host.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    host.processes.append(process)
    return process


def test_who_is_there_sees_a_printer_of_another_host_come_and_go_and_talks_to_it(network: Network) -> None:
    a, b = network.host(), network.host()
    watcher = start(b, "who_is_there.py", "printer", "60")
    printer = start(a, "printer.py", "a")
    assert printer.stdout is not None
    assert watcher.stdout is not None
    address = printer.stdout.readline().split()[-1]
    assert watcher.stdout.readline() == f"joined printer/a {address} {{'dpi': '600'}}\n"
    assert watcher.stdout.readline() == "hello from printer/a\n"
    printer.send_signal(signal.SIGINT)
    assert watcher.stdout.readline() == f"left printer/a {address} {{'dpi': '600'}}\n"
    assert printer.wait(10) == 0
