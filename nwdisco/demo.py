"""The main job on one machine, in seconds: two beacons that know each other only by the network, as two machines would.

Each has a directory of its own; they talk over the loopback interface, by the real protocol, so nothing leaves the machine.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from tempfile import TemporaryDirectory

import click

from . import discovery
from .beacon import start
from .connection import Connection

ADVERTISER = """
import sys, time
import nwdisco as nw0
nw0.discover_all()
for line in sys.stdin:
    began_at = time.monotonic()
    print(began_at, nw0.advertise(line.strip()), flush=True)
"""


def run() -> None:
    """Raises BeaconError when a beacon cannot be started."""
    with TemporaryDirectory(prefix="nwdisco-demo-") as place, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as spare:
        spare.bind(("127.0.0.1", 0))
        port = spare.getsockname()[1]
        spare.close()
        here = {
            "NWDISCO_INTERFACES": "lo",
            "NWDISCO_PORT": str(port),
            "NWDISCO_SHIM": "none",
            "NWDISCO_IDLE_S": "5",
        }
        os.environ.update(here, NWDISCO_RUNTIME_DIR=os.path.join(place, "b"))
        other = {**os.environ, "NWDISCO_RUNTIME_DIR": os.path.join(place, "a")}
        click.echo("Two beacons on this machine play machine A and machine B; they know each other by UDP only.\n")
        with subprocess.Popen(
            [sys.executable, "-c", ADVERTISER], env=other, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as program:
            try:
                _show(program)
            finally:
                program.kill()
                _stop_beacon(os.environ["NWDISCO_RUNTIME_DIR"])
                _stop_beacon(other["NWDISCO_RUNTIME_DIR"])


def _show(program: subprocess.Popen[str]) -> None:
    assert program.stdin is not None
    assert program.stdout is not None
    with discovery.watch(wait_for_s=20) as watch:
        discovery.discover_all()
        for name in ("printer/a", "printer/b"):
            print(name, file=program.stdin, flush=True)
            event = next(watch)
            seen_at = time.monotonic()
            began_at, address = program.stdout.readline().split()
            click.echo(f'A: nw0.advertise("{name}")             -> "{address}"')
            click.echo(
                f"B: {event.kind} {event.name} at {event.address}, {(seen_at - float(began_at)) * 1000:.1f} ms after A's call"
            )
        click.echo(f'B: nw0.discover("printer/a")             -> "{discovery.discover("printer/a")}"')
        click.echo(f'B: dict(nw0.discover_group("printer"))   -> {dict(discovery.discover_group("printer"))}')
        program.kill()
        killed_at = time.monotonic()
        click.echo("A: the program is killed (-9)")
        for event in (next(watch), next(watch)):
            click.echo(f"B: {event.kind} {event.name}, {(time.monotonic() - killed_at) * 1000:.1f} ms after the kill")
    click.echo(f"B: nw0.discover_all()                    -> {discovery.discover_all()}")


def _stop_beacon(runtime_dir: str) -> None:
    os.environ["NWDISCO_RUNTIME_DIR"] = runtime_dir
    end = start.connect_if_running()
    if end is not None:
        connection = Connection(end)
        connection.ask({"do": "stop"})
        connection.close()
