"""The TCP door where it stands: its port on a host, what keeps its beacon there, and what other hosts see of its services.

The client is tests/shim_client.js: Node with its standard library only, written from SEEDS.md alone.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.machines import DEADLINE_S, Machine, alive, wait_until
from tests.namespaces import Network
from tests.shim import LEASE_S, Shim, Wire, address_of, running_shim, status_of, timed

CLIENT = Path(__file__).with_name("shim_client.js")
UNKNOWN = "00000000-0000-4000-8000-000000000000"
BAD_ADDRESSES = (
    "nonsense",
    "127.0.0.1",
    "127.0.0.1:",
    "127.0.0.1:66554",
    "127.0.0.1:-1",
    "127.0.0.1:x",
    "300.0.0.1:80",
)


@pytest.fixture
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("a client in another language needs the command node (Debian: nodejs)")
    return found


class Client:
    """The Node client on a machine, for the door at an address there."""

    def __init__(self, node: str, machine: Machine, address: tuple[str, int]) -> None:
        self._command = [*machine.prefix, node, str(CLIENT), address[0], str(address[1])]

    def run(self, *args: str) -> list[Any]:
        """What it printed: an answer a line."""
        done = subprocess.run([*self._command, *args], capture_output=True, text=True, timeout=DEADLINE_S)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def ask(self, *args: str) -> Any:
        """The one answer, without its header."""
        (answer,) = self.run(*args)
        return answer.get("text", answer.get("value"))

    @contextmanager
    def serving(self, *args: str) -> Iterator[str]:
        """The uuid of a service that heartbeats until the end of the block."""
        process = subprocess.Popen([*self._command, "serve", *args], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["text"]
            assert process.poll() is None, "the client ended"
        finally:
            process.kill()
            answers = process.communicate()[0]
        assert answers == "", "a heartbeat was answered otherwise than OK"


# --- other hosts ---


def test_what_a_node_client_registers_is_found_on_other_hosts_and_gone_everywhere_5_s_after_its_last_heartbeat(
    network: Network, node: str
) -> None:
    a, b, c = network.host(), network.host(), network.host()
    for host in (a, b, c):
        host.env["NWDISCO_SHIM"] = ""
    shims = [Shim(host, "") for host in (a, b, c)]
    assert {shim.address for shim in shims} == {("127.0.0.1", 65432)}, "each on the default port"
    on_a, on_b = (Client(node, host, ("127.0.0.1", 65432)) for host in (a, b))
    watchers = [host.program() for host in (b, c)]
    for watcher in watchers:
        watcher.call("watch", "hive")
    with on_a.serving("hive", "0.0.0.0", "65433", "0.5") as uuid:
        joined = ["joined", f"hive/{uuid}", f"{a.ip()}:65433"]
        for watcher in watchers:
            assert watcher.call("next_event") == joined
        assert b.call("discover", f"hive/{uuid}") == f"{a.ip()}:65433"
        assert on_b.ask("query", "hive") == [{"ip": a.ip(), "port": 65433}]
        program = c.program()
        program.call("advertise", "hive/c", ":80")
        assert watchers[0].call("next_event") == ["joined", "hive/c", f"{c.ip()}:80"]
        both = [{"ip": a.ip(), "port": 65433}, {"ip": c.ip(), "port": 80}]
        for client in (on_a, on_b):
            wait_until(lambda c=client: sorted(c.ask("query", "hive"), key=str) == both, "both")  # type: ignore[misc]
        program.call("unadvertise", "hive/c")
        assert watchers[0].call("next_event")[0] == "left"
        for kind in ("joined", "left"):
            assert watchers[1].call("next_event")[:2] == [kind, "hive/c"]
    answer, began, done = timed(lambda: on_a.ask("heartbeat", uuid))
    assert answer == "OK"
    for watcher in watchers:
        watcher.begin("next_event")
    for name, watcher in zip("bc", watchers, strict=True):
        assert watcher.end() == ["left", *joined[1:]]
        gone = time.monotonic()
        print(f"gone on {name} {gone - done:.3f} to {gone - began:.3f} s after its last heartbeat")
        assert gone - began >= LEASE_S
        assert gone - done < LEASE_S + 0.5 + 2
    assert on_a.ask("query", "hive") == on_b.ask("query", "hive") == []
    assert on_a.ask("heartbeat", uuid, "service_uuid") == "NOT FOUND"
    for shim in shims:
        shim.end()


def test_a_node_client_gets_the_same_answers_to_its_lines_however_they_arrive(node: str) -> None:
    with running_shim() as shim:
        client = Client(node, shim.machine, shim.address)
        found = {"key": "redis", "values": "10.0.0.1:6379", "ip": "10.0.0.1", "port": 6379, "properties": {}}
        answers: dict[str, Any] = {
            '{"type":"register","key":"redis","values":"10.0.0.1:6379","timeout":"30"}': {"ok": True},
            '{"type":"query","key":"all"}': {"ok": True, "services": [found]},
            '{"type":"destruction","key":"redis"}': {"ok": True},
            '{"type":"query","key":"redis"}': {"ok": True, "services": []},
        }
        assert client.run("lines", *answers) == list(answers.values())
        assert client.run("splitlines", *answers) == list(answers.values())
        assert client.ask("register", "hive", "127.0.0.1", "66554") == "ERROR"
        assert client.ask("heartbeat", UNKNOWN) == "NOT FOUND"


# --- the beacon that holds it ---


def test_a_registration_outlives_its_connection_and_the_beacons_idleness(machine: Machine) -> None:
    machine.env |= {"NWDISCO_SHIM": "127.0.0.1:0", "NWDISCO_IDLE_S": "0.2"}
    program = machine.program()
    program.call("discover_all")
    status = status_of(machine)
    assert status is not None
    with Wire(address_of(status)) as lines:
        _, sent, _ = timed(lambda: lines.register("stays", "10.0.0.1:80", timeout=1))
    program.finish()
    ended = wait_until(lambda: not alive(status["pid"]) and time.monotonic(), "the beacon's end by idleness")
    assert ended - sent >= 0.95, "the beacon ended while it held a registration"


# --- the port ---


def listening_sockets(pid: int) -> set[str]:
    """What a process listens on for TCP, as inodes."""
    sockets = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            sockets.add(os.readlink(fd))
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def test_a_port_that_is_taken_is_a_warning_and_the_beacon_works_on(machine: Machine) -> None:
    with socket.socket() as taken:
        with suppress(OSError):  # somebody else has it: as good
            taken.bind(("127.0.0.1", 65432))  # what a beacon takes when it is told nothing
            taken.listen()
        machine.env["NWDISCO_SHIM"] = ""
        shim = Shim(machine, "")
        assert shim.door["address"] is None
        assert "65432" in shim.door["why_not"]
        assert machine.call("advertise", "a", "10.0.0.1:80") == "10.0.0.1:80"
        warnings = [line for line in shim.end().splitlines() if "65432" in line]
    assert len(warnings) == 1
    assert "in use" in warnings[0].lower()


@pytest.mark.parametrize(
    ("option", "setting", "sockets"),
    [("--no-shim", "", 0), ("--no-shim", "127.0.0.1:0", 0), ("", "none", 0), ("", "127.0.0.1:0", 1)],
)
def test_whether_there_is_a_door_is_said_by_option_or_setting(
    machine: Machine, option: str, setting: str, sockets: int
) -> None:
    machine.env["NWDISCO_SHIM"] = setting
    shim = Shim(machine, option)
    assert len(listening_sockets(shim.pid)) == sockets
    assert (shim.door["address"] is not None) == bool(sockets)


@pytest.mark.parametrize("wrong", BAD_ADDRESSES)
def test_an_address_for_the_door_that_is_none_ends_the_beacon_with_a_message(machine: Machine, wrong: str) -> None:
    machine.env["NWDISCO_SHIM"] = ""
    by_option = machine.start("beacon", "--shim", wrong)
    machine.env["NWDISCO_SHIM"] = wrong
    for process in (by_option, machine.start("beacon")):
        out, errors = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, out) == (2, ""), errors
        assert repr(wrong) in errors
        assert "Traceback" not in errors
